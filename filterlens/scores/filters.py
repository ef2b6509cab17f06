"""Scores of the filters lens."""

from __future__ import annotations

from filterlens.scores.descriptor import Score

__all__ = ["SCORES"]

_LAYER = "F: the n = c_out · c_in / groups filters of a layer as rows of an (n, k_h · k_w) matrix"

SCORES: tuple[Score, ...] = (
    Score(
        name="sparsity",
        lens="filters",
        title="Sparsity",
        summary="Share of filters too small to matter, relative to the layer's largest weight.",
        formula="#{i : max|f_i| ≤ 0.01 · max_j max|f_j|} / n",
        reference="Gavrikov2022Lens §3",
        bounds=(0.0, 1.0),
        unit="share",
        robust_is="lower",
        chance="0: random filters of one variance are never sparse",
        pitfalls="One outlier weight makes a whole layer look sparse. Folding BatchNorm into the weights changes it.",
    ),
    Score(
        name="variance_entropy",
        lens="filters",
        title="Variance entropy",
        summary="In how many directions the scaled, non-sparse filters of a layer vary.",
        formula=f"{_LAYER}; drop sparse rows, f_i / max|f_i|, centre, singular values s; "
        "p = s² / Σ s²; H = − Σ p log10 p",
        reference="Gavrikov2022Lens §3",
        bounds=(0.0, None),
        robust_is="higher",
        chance="log10(k²) for many random filters (0.954 for 3x3), less for few",
        pitfalls="Few filters cannot fill all directions: compare layers of equal size, or use its z-score.",
    ),
    Score(
        name="variance_entropy_raw",
        lens="filters",
        title="Variance entropy (raw)",
        summary="In how many directions all filters of a layer vary, as they are.",
        formula=f"{_LAYER}; centre, singular values s; p = s² / Σ s²; H = − Σ p log10 p",
        reference="Gavrikov2022DB §4",
        bounds=(0.0, None),
        chance="log10(k²) for many random filters (0.954 for 3x3), less for few",
        pitfalls="A few large filters decide it. Folding BatchNorm into the weights changes it.",
    ),
    Score(
        name="variance_entropy_raw_normalized",
        lens="filters",
        title="Variance entropy (raw, normalised)",
        summary="Raw variance entropy relative to as many random 3x3 filters.",
        formula="H / T_H(n), T_H(n) = 1.2618047 / (1 + exp(−0.88767525 (log2 n − 2.30436435))) − 0.31050834",
        reference="Gavrikov2022DB §4",
        bounds=(0.0, None),
        chance="about 1",
        pitfalls="Only for 3x3; the fit is unreliable below ten filters.",
    ),
    Score(
        name="orthogonality",
        lens="filters",
        title="Orthogonality",
        summary="How little the output channels of a layer point the same way.",
        formula="1 − Σ_{i≠j} |⟨ŵ_i, ŵ_j⟩| / (c_out (c_out − 1)), ŵ_i the unit rows of the (c_out, d) weight",
        reference="Gavrikov2022Lens §3",
        bounds=(0.0, 1.0),
        unit="share",
        robust_is="higher",
        chance="1 − Γ(d/2) / (√π Γ((d+1)/2)): wider layers come nearer to 1 by chance alone",
        pitfalls="Grows with d for random weights; zero rows cost nothing; not defined for one output channel.",
    ),
    Score(
        name="sparsity_z",
        lens="filters",
        title="Sparsity, z against chance",
        summary="Sparse filters beyond those of random weights of the same shape, in standard deviations.",
        formula="(n_sparse − n p) / max(1, √(n p (1 − p))), p = (2 Φ(ε M) − 1)^(k²), M the median largest |weight|",
        reference="filterlens",
        chance="0 ± 1",
        pitfalls="Grows with the number of filters; the deviation counts as one filter at least.",
        auxiliary=True,
    ),
    Score(
        name="variance_entropy_z",
        lens="filters",
        title="Variance entropy, z against chance",
        summary="Variance entropy above that of as many random filters, in standard deviations.",
        formula="(H − E H) / sd H over scaled normal filters, simulated for 3x3, 5x5 and 7x7",
        reference="filterlens",
        chance="0 ± 1; skewed to the left below ten filters",
        pitfalls="Random filters of large layers hardly vary: hundreds below zero are common after training.",
        auxiliary=True,
    ),
    Score(
        name="orthogonality_z",
        lens="filters",
        title="Orthogonality, z against chance",
        summary="Orthogonality above that of random rows of the same shape, in standard deviations.",
        formula="(O − μ) / σ, μ = 1 − Γ(d/2) / (√π Γ((d+1)/2)), σ² = 2 (1/d − (1 − μ)²) / (c_out (c_out − 1))",
        reference="filterlens",
        chance="0 ± 1",
        pitfalls="Positive means more orthogonal than chance, as after an orthogonal initialisation.",
        auxiliary=True,
    ),
)
