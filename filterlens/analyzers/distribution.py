"""How filters are distributed: principal components, coefficients, and the shift between groups of models.

Takes part: every scaled filter (divided by its largest absolute weight) that is not sparse in its layer, of the
run's most common kernel size (3x3 in nearly every network); K = k_h · k_w. Each model enters once, however many
robust models share it as their normal partner. Memory is bounded: moments, then ranges, then histograms, each in
one pass over the dumps, whatever the number of filters.

Layout of `/filters` in `pooled.h5`
-----------------------------------
Lists are stored as UTF-8 JSON in a uint8 array: `json.loads(group.read("models").tobytes())`.

Attributes of the group: `kernel` (`"3x3"`), `n_components` (K), `threshold` (0.01: below this share of its layer's
maximum a filter is sparse), `bins` (70), `fine_bins` (700).

| array | shape, dtype | content |
|---|---|---|
| `models` | JSON | the M pooled models in order, each `{"model_id", "dataset", "robust": true/false/null, "n_filters"}` |
| `groups` | JSON | the G groups in order, each `{"label", "dataset": "" for every data set, "robust": true/false/null for both, "n_models", "n_filters"}`; first `all`, `robust`, `normal`, then for each data set `X`, `X robust`, `X normal`; a model without known robustness is in `all` and `X` only |
| `datasets` | JSON | the D data sets in order, as in the catalog (`unknown` where it says nothing) |
| `depths` | JSON | the 11 depth groups in order: `"0"`, `"(0.0, 0.1]"`, …, `"(0.9, 1.0]"` of conv_depth_norm, `"0"` being the first convolution (conv_depth 0) |
| `means` | (G, K) float64 | mean scaled filter of each group, row-major k_h x k_w |
| `bases` | (G, K, K) float64 | row i of group g is its principal component v_i: unit length, by falling variance, largest entry positive; NaN for a group with fewer than two filters or no variance |
| `explained_variance_ratio` | (G, K) float64 | share of variance of each component; sums to 1; NaN as above |
| `edges` | (fine_bins + 1,) float64 | common bin edges of all coefficients, centred on the mean of `all` and projected on the basis of `all` |
| `histograms` | (G, K, fine_bins) int64 | filters of the group whose coefficient c_i falls in each bin; sums of ten neighbours are the 70 bins that shifts use |
| `shift` | (D,) float64 | D(robust, normal) of each data set in nats: its paired models where it has pairs, else all its models, on the PCA of their union; NaN where a side is empty |
| `shift_components` | (D, K) float64 | symmetric KL of each coefficient; `shift` = Σ_i a_i of it |
| `shift_counts` | (D, 2) int64 | filters on the robust and the normal side |
| `shift_depths` | (D, 11) float64 | the same by depth group, each on the PCA of its own union |
| `shift_depth_counts` | (D, 11, 2) int64 | filters on the robust and the normal side |
| `shift_models` | (M, M) float64 | symmetric KL between every two models, on the basis, range and explained variance of `all`; 0 on the diagonal |

`shift` and `shift_depths` carry the attribute `paired`: JSON list of D booleans, true where only paired models
took part. A run without any filter has no pooled group: `pool` raises `LensSkipped`.
"""  # noqa: E501 - a table's row is one line

from __future__ import annotations

__all__: list[str] = []
