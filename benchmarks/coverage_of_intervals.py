"""Count how often intervals cover, and tests reject, in zoos whose difference is known.

Run: `make coverage-of-intervals` (about five minutes on one core): writes docs/evidence/coverage.csv and
docs/evidence/coverage_of_rho.csv, and prints the tables of docs/statistics.md.

A zoo has normal models j, each with k_j robust partners p. Its difference δ is the same everywhere:

    d_jp = δ + b_j + e_jp − m_j        d_j = mean over p of d_jp

b_j: how much more or less the training does for this architecture, m_j and e_jp: the trainings' own noise; the three
are independent, of one distribution and variance 1. In "ratio" zoos robust training divides a log-normal score by about
ten, so that d_j is as skewed as the score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from filterlens.catalogs import load_catalog
from filterlens.report.statistics import MIN_UNITS, SKEWED, mean_interval, skewness, wilcoxon_p
from filterlens.studies.claims import correlation

Values = NDArray[np.float64]
Ends = tuple[Values, Values]
EVIDENCE = Path(__file__).resolve().parents[1] / "docs" / "evidence"
ZOOS = 10_000
RESAMPLES = 500
NOISES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Values]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy (Student's t, 3 df)": lambda rng, shape: rng.standard_t(3, size=shape) / np.sqrt(3),
    "skewed (exponential)": lambda rng, shape: rng.exponential(size=shape) - 1,
}
RATIO = "ratio (log-normal)"


def partners() -> list[tuple[int, ...]]:
    """Robust partners of each normal model, one tuple a zoo; of the shipped catalogs where these have pairs."""

    def shipped(name: str) -> tuple[int, ...]:
        matches = [entry.match for entry in load_catalog(name) if entry.match]
        return tuple(matches.count(match) for match in dict.fromkeys(matches))

    made = [(5,) * 4, (1,) * 5, (10, 6, 1, 1, 1, 1), (3,) * 10 + (1,) * 5]
    return sorted([*made, shipped("fonts-linf"), (1,) * 25, shipped("gavrikov2022"), (1,) * 45], key=len)


def draw(k: tuple[int, ...], noise: str, zoos: int, rng: np.random.Generator) -> list[Values]:
    """Differences d_jp − δ of `zoos` zoos: for each normal model an array of shape (zoos, k_j)."""
    if noise == RATIO:
        score = [np.exp(rng.normal(size=(zoos, n + 1)) - 0.5) for n in k]  # mean 1
        return [0.1 * s[:, 1:] - s[:, :1] + 0.9 for s in score]
    one = NOISES[noise]
    return [one(rng, (zoos, 1)) + one(rng, (zoos, n)) - one(rng, (zoos, 1)) for n in k]


def methods(units: Values) -> Iterator[tuple[str, Ends]]:
    """Intervals for the mean of each row; units: shape (zoos, n)."""
    n = units.shape[1]
    mean, error = units.mean(axis=1), stats.sem(units, axis=1)
    weights = np.random.default_rng(0).multinomial(n, [1 / n] * n, size=RESAMPLES) / n
    means = units @ weights.T  # (zoos, resamples)
    spread = np.sqrt(np.maximum(units**2 @ weights.T - means**2, 0) / (n - 1))
    centred = means - mean[:, None]
    degenerate = spread <= 1e-9 * error[:, None]
    studentised = np.where(degenerate, np.sign(centred) * 1e9, centred / np.where(degenerate, 1, spread))
    high, low = mean - np.quantile(studentised, [0.025, 0.975], axis=1) * error
    means.sort(axis=1)
    yield "percentile bootstrap", tuple(np.quantile(means, [0.025, 0.975], axis=1))
    yield "BCa bootstrap", _bca(units, means)
    yield "studentised bootstrap", (low, high)
    if n >= 6:  # fewer subsets do not reach 95 %
        yield "means of random subsets", _subsets(units)
    ends = np.array([mean_interval(row) for row in units])
    yield "t", (ends[:, 0], ends[:, 1])


def _bca(units: Values, means: Values) -> Ends:
    """Efron's bias-corrected and accelerated interval, from sorted resampled means."""
    centre = units.mean(axis=1, keepdims=True)
    bias = stats.norm.ppf(np.clip((means < centre).mean(axis=1), 1e-3, 1 - 1e-3))
    pull = units - centre
    acceleration = (pull**3).sum(axis=1) / (6 * (pull**2).sum(axis=1) ** 1.5)
    ends = []
    for z in stats.norm.ppf([0.025, 0.975]):
        share = stats.norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))
        place = np.clip(np.rint(share * (means.shape[1] - 1)), 0, means.shape[1] - 1).astype(int)
        ends.append(means[np.arange(len(means)), place])
    return ends[0], ends[1]


def _subsets(units: Values) -> Ends:
    """Hartigan's typical values: the sign-flip test of the mean, inverted."""
    n = units.shape[1]
    rng = np.random.default_rng(0)
    chosen = (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1 if n <= 8 else rng.integers(2, size=(RESAMPLES, n))
    chosen = chosen[chosen.any(axis=1)]
    low, high = np.quantile(units @ (chosen / chosen.sum(axis=1, keepdims=True)).T, [0.025, 0.975], 1, method="weibull")
    return low, high


def coverage(k: tuple[int, ...], noise: str, zoos: int, seed: int = 0) -> pd.DataFrame:
    """Coverage of every interval, and the shares of zoos called skewed and, where δ = 0 is possible, rejected."""
    differences = draw(k, noise, zoos, np.random.default_rng([seed, len(k), sum(k), len(noise)]))
    units = np.stack([d.mean(axis=1) for d in differences], axis=1)
    pairs = np.concatenate(differences, axis=1)
    error = stats.sem(pairs, axis=1) * stats.t.ppf(0.975, pairs.shape[1] - 1)
    naive = (pairs.mean(axis=1) - error, pairs.mean(axis=1) + error)
    facts = {"units": len(k), "pairs": sum(k), "noise": noise}
    rows = [
        facts | {"method": name, "rate": np.mean((low <= 0) & (high >= 0)), "width": np.median(high - low)}
        for name, (low, high) in [*methods(units), ("t, pairs as if independent", naive)]
    ]
    if noise != RATIO:
        rejected = np.mean([wilcoxon_p(row) < 0.05 for row in units])
        rows.append(facts | {"method": "Wilcoxon rejects", "rate": rejected, "width": np.nan})
    skewed = np.mean([abs(skewness(row)) > SKEWED for row in units])
    rows.append(facts | {"method": "called skewed", "rate": skewed, "width": np.nan})
    return pd.DataFrame(rows)


def rho_coverage(n: int, latent: float, zoos: int, seed: int = 0) -> float:
    """Coverage of the interval of Spearman's ρ for `n` networks, bivariate normal with correlation `latent`."""
    rng = np.random.default_rng([seed, n, int(100 * latent)])
    x = rng.normal(size=(zoos, n))
    y = latent * x + np.sqrt(1 - latent**2) * rng.normal(size=(zoos, n))
    true = 6 / np.pi * np.arcsin(latent / 2)
    ends = np.array([correlation(a, b)[1:] for a, b in zip(x, y, strict=True)])
    return float(np.mean((ends[:, 0] <= true) & (ends[:, 1] >= true)))


def as_markdown(table: pd.DataFrame) -> str:
    """One row a zoo and noise, one column a method, rates in percent."""
    wide = table.pivot_table(index=["noise", "units", "pairs"], columns="method", values="rate", sort=False)
    heads = [*wide.index.names, *wide.columns]
    lines = [f"| {' | '.join(heads)} |", f"|{'|'.join(['---', *['---:'] * (len(heads) - 1)])}|"]
    for facts, row in zip(wide.index.to_list(), wide.to_numpy(), strict=True):
        cells = [f"{100 * rate:.1f}" if np.isfinite(rate) else "–" for rate in row]
        lines.append(f"| {' | '.join([*map(str, facts), *cells])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    EVIDENCE.mkdir(exist_ok=True)
    parts = [coverage(k, noise, ZOOS) for noise in [*NOISES, RATIO] for k in partners() if len(k) >= MIN_UNITS]
    table = pd.concat(parts, ignore_index=True)
    table.round(4).to_csv(EVIDENCE / "coverage.csv", index=False)
    print(as_markdown(table))
    networks = [(n, latent) for n in (8, 12, 24, 43) for latent in (0.0, 0.5, 0.8)]
    rho = pd.DataFrame([(*each, rho_coverage(*each, ZOOS // 10)) for each in networks], columns=["n", "latent", "rate"])
    rho.round(4).to_csv(EVIDENCE / "coverage_of_rho.csv", index=False)
    print(rho.to_string(index=False))


if __name__ == "__main__":
    main()
