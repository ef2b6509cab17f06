"""Numbers in README and docs are those of the committed tables."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from scripts import load_script

from filterlens.lens import all_scores
from filterlens.loaders.architectures import ARCHITECTURES, build
from filterlens.report.correlation import rank_correlation
from filterlens.studies.claims import claims_markdown
from filterlens.studies.flatness_table import methods_markdown

ROOT = Path(__file__).resolve().parents[1]
EVIDENCE = ROOT / "docs" / "evidence"


def _page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_evidence_page_is_what_its_tables_say() -> None:
    assert _page("docs/evidence.md") == load_script("docs/make_evidence.py").evidence(), (
        "run `python docs/make_evidence.py`"
    )


def test_every_claim_that_a_score_is_held_against_is_on_the_evidence_page() -> None:
    rows = pd.read_csv(EVIDENCE / "claims.csv")
    for score in all_scores().values():
        if score.robust_is:
            mine = rows[rows["row"].fillna("").eq(f"metric == '{score.name}'")]
            assert not mine.empty, f"docs/evidence/claims.csv has no row of {score.name}"
            assert score.claim.partition(":")[0] in set(mine["source"]), score.name


@pytest.mark.parametrize(
    ("page", "zoo"),
    [(page, "cifar10-small") for page in ("README.md", "docs/index.md", "docs/claims.md")]
    + [("docs/claims.md", "fonts-linf")],
)
def test_the_table_of_claims_is_that_of_the_committed_run_and_leaves_none_out(page: str, zoo: str) -> None:
    tool = load_script("tools/publish_zoo.py")
    comparison = pd.read_csv(tool.EXAMPLES / zoo / "tables" / "robust_vs_normal.csv")
    table = tool.result_table(comparison)
    assert f"{tool.start(zoo)}\n{table}\n{tool.END}" in _page(page), "run `python tools/publish_zoo.py`"
    assert table.count("\n") == 1 + comparison["robust_is"].notna().sum()
    for title in ("ECE (clean)", "Alias energy", "Sparsity"):
        assert f"| {title} |" in table


def test_the_tables_of_the_study_of_flatness_are_those_that_it_wrote() -> None:
    page, folder = _page("docs/lenses/flatness.md"), EVIDENCE / "flatness-study"
    assert methods_markdown(pd.read_csv(folder / "methods.csv")) in page
    claims = pd.read_csv(folder / "claims.csv")
    assert claims_markdown(claims) in page
    points = pd.read_csv(folder / "study_gap.csv")
    last = points[(points["stopped"] == "last") & (points["case"] == "average_flatness")]
    again = rank_correlation(last["flatness"], last["robust_gap"])
    row = claims[claims["measure"] == "Spearman, average-case flatness and robust gap, after the last epoch"].iloc[0]
    assert (row["value"], row["n"]) == (pytest.approx(again.rho), again.n)
    assert not points["method"].eq("normal").any()


def test_the_tables_of_coverage_are_those_of_the_committed_simulation() -> None:
    simulation = load_script("benchmarks/coverage_of_intervals.py")
    page = _page("docs/statistics.md")
    coverage = pd.read_csv(EVIDENCE / "coverage.csv")
    assert simulation.as_markdown(coverage) in page, "paste what `make coverage-of-intervals` prints"
    rho = pd.read_csv(EVIDENCE / "coverage_of_rho.csv").pivot_table(index="n", columns="latent", values="rate")
    for n, row in rho.iterrows():
        assert f"| {n} | {' | '.join(f'{100 * rate:.1f}' for rate in row)} |" in page
    shifted = coverage[(coverage["method"] == "t") & (coverage["noise"] != simulation.RATIO)]
    assert shifted["rate"].between(0.94, 0.965).all()
    rejected = coverage[coverage["method"] == "Wilcoxon rejects"]
    assert (rejected["rate"] <= 0.06).all()
    assert (rejected["rate"][rejected["units"] >= 8] >= 0.035).all()
    skewed = coverage[coverage["method"] == "called skewed"].groupby(coverage["noise"] == simulation.RATIO)["rate"]
    low, high = (100 * skewed.min()).round(), (100 * skewed.max()).round()
    said = f"t covers {low[False]:.0f} to {high[False]:.0f} % are called so, of "
    assert f'{said}"ratio" zoos {low[True]:.0f} to {high[True]:.0f} %' in page.replace("\n  ", " ")


def test_numbers_of_the_resnet20_pair_are_those_of_the_committed_table() -> None:
    table = pd.read_csv(EVIDENCE / "resnet20.csv")
    lens = _page("docs/lenses/downsampling.md")
    for (layer, metric), rows in table[table["layer"].notna()].groupby(["layer", "metric"]):
        value = rows.set_index("model_id")["value"]
        cells = f"| {metric} | {value['resnet20-normal']:.3f} | {value['resnet20-robust']:.3f} |"
        assert cells in lens, (layer, cells)
    lens = _page("docs/lenses/robustness.md")
    wide = table[table["layer"].isna()].pivot_table(index="model_id", columns="metric", values="value")
    for model, kind in (("resnet20-robust", "robust"), ("resnet20-normal", "normal")):
        row = wide.loc[model]
        said = f"{kind} ResNet-20 {row['clean_accuracy']:.1%} clean, {row['robust_accuracy']:.1%} under PGD-20"
        assert f"{said}, robust loss {row['robust_loss']:.3g}".replace("%", " %") in lens.replace("\n", " "), said


def spread(values: pd.Series, digits: int) -> str:
    """Such as `0.933–0.934`, or one number."""
    low, high = f"{values.min():.{digits}f}", f"{values.max():.{digits}f}"
    return low if low == high else f"{low}–{high}"


@pytest.mark.parametrize(
    ("title", "of"),
    [
        ("trained normally", "-normal-"),
        ("on the manifold, transformations", "on-manifold|transformations"),
        ("PGD, TRADES", "-pgd-|trades"),
        ("FGSM, before and after its collapse", "-fgsm-"),
    ],
)
def test_the_yardsticks_table_is_that_of_its_run(title: str, of: str) -> None:
    table = pd.read_csv(EVIDENCE / "manifold-yardstick.csv")
    part = table[table["model_id"].str.contains(of)]
    columns = ["attacked", "noise", "noise_signs", "noise_unclipped"]
    cells = [spread(part["examples"], 0), *(spread(part[name], 3) for name in columns)]
    page = _page("docs/lenses/manifold.md")
    (row,) = (line for line in page.splitlines() if line.startswith(f"| {title} |"))
    assert [cell.strip() for cell in row.strip("|").split("|")] == [title, str(len(part)), *cells]
    assert len(table) == 21


def test_sentences_about_the_yardstick_are_those_of_its_run() -> None:
    table = pd.read_csv(EVIDENCE / "manifold-yardstick.csv")
    normal = table[table["model_id"].str.contains("-normal-")]
    attacked, noise, signs, outside = (
        spread(normal[name], 3) for name in ("attacked", "noise", "noise_signs", "noise_unclipped")
    )
    lens, claims = (" ".join(_page(f"docs/{name}.md").split()) for name in ("lenses/manifold", "claims"))
    assert (
        f"They read {attacked}, between the two kinds of noise that obey what they obey ({noise} and {signs})" in lens
    )
    assert f"its noise left the image box ({outside})" in lens
    assert f"attacks on normal networks read {attacked}, Gaussian noise {noise}, random signs {signs}" in claims
    assert f"its noise left the box ({outside})" in claims
    robust = table[table["model_id"].str.contains("-pgd-|trades")]
    below = [robust[name] - robust["attacked"] for name in ("noise", "noise_signs")]
    gaussian, random = (f"{gap.min():.3f} to {gap.max():.3f}" for gap in below)
    assert f"read {gaussian} below Gaussian noise and {random} below random signs" in lens


def test_the_bundled_zoos_accuracies_are_those_of_its_catalog() -> None:
    """The table of docs/training.md, from `clean_acc` and `robust_acc`."""
    catalog = pd.read_csv(ROOT / "catalogs" / "fonts-linf.csv").set_index("model_id")

    def spread_of(part: str, column: str) -> str:
        values = catalog.loc[catalog.index.str.contains(part), column]
        low, high = (f"{value:.1f}".replace("100.0", "100") for value in (values.min(), values.max()))
        low, high = ("0" if value == "0.0" else value for value in (low, high))
        return f"{low} %" if low == high else f"{low}–{high} %"

    page = _page("docs/training.md")
    for title, part in (
        ("8 `normal`", "-normal-"),
        ("8 `pgd`", "-pgd-"),
        ("`trades` (β = 2)", "trades"),
        ("`on-manifold`, `transformations`", "on-manifold|transformations"),
    ):
        assert f"| {title} | {spread_of(part, 'clean_acc')} | {spread_of(part, 'robust_acc')} |" in page
    before, after = (catalog.loc[f"preact_resnet-fgsm-{name}-s0"] for name in ("before", "collapsed"))
    cells = " | ".join(f"{before[name]:.1f} % → {after[name]:.1f} %" for name in ("clean_acc", "robust_acc"))
    assert f"| `fgsm`, before and after the collapse | {cells} |" in page


def test_aliasing_of_the_bundled_collapse_is_that_of_the_committed_run() -> None:
    models = pd.read_csv(ROOT / "reports/examples/fonts-linf/tables/models.csv").set_index("model_id")
    before, after = (models.loc[f"preact_resnet-fgsm-{name}-s0"] for name in ("before", "collapsed"))
    rise, energy = (f"{before[name]:.3f} to {after[name]:.3f}" for name in ("aliasing_relative", "alias_energy"))
    training, claims = (" ".join(_page(f"docs/{name}.md").split()) for name in ("training", "claims"))
    assert f"`aliasing_relative` rises from {rise} and `alias_energy` from {energy}" in training
    assert f"`aliasing_relative` rises from {rise}" in claims


def test_parameters_of_the_architectures_are_those_of_the_page() -> None:
    page = _page("docs/training.md")
    for name in ARCHITECTURES:
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        count = sum(parameter.numel() for parameter in build(name).parameters())
        assert row.endswith(f"| {count:,} |".replace(",", " "))


def test_sparsity_at_other_weight_decays_is_that_of_the_kept_epochs() -> None:
    table = pd.read_csv(EVIDENCE / "cifar10-weight-decay.csv")
    assert (table.loc[table["weight_decay"] == 0.0005, "sparsity"] == 0).sum() == 5
    last = table[(table["weight_decay"] == 0.01) & (table["epoch"] == 3)].set_index("recipe")
    normal, robust = last.loc["normal"], last.loc["fgsm"]
    page = " ".join(_page("docs/training.md").split())
    assert f"sparsity was {normal['sparsity']:.2f} normal and {robust['sparsity']:.2f} robust" in page
    assert (
        f"at {normal['clean_accuracy']:.0%} and {robust['clean_accuracy']:.0%} clean accuracy".replace("%", " %")
        in page
    )


def test_filters_differ_by_depth_where_the_page_says() -> None:
    table = pd.read_csv(ROOT / "reports/examples/cifar10-small/tables/by_depth.csv")
    table = table[table["metric"].isin(["sparsity", "variance_entropy", "orthogonality"])]
    clear = table[table["p_adjusted"] < 0.05].set_index(["metric", "depth"])
    assert set(clear.index) == {
        *((name, "0") for name in ("sparsity", "variance_entropy", "orthogonality")),
        ("variance_entropy", "(0.9, 1.0]"),
    }
    page = " ".join(_page("docs/claims.md").split())
    for robust, normal in zip(clear["robust_mean"], clear["normal_mean"], strict=True):
        assert re.search(rf"{robust:.3f}( robust)?, {normal:.3f}", page)


def test_the_calibration_of_inspect_is_that_of_its_table() -> None:
    table = pd.read_csv(EVIDENCE / "inspect_calibration.csv")
    table["right"] = table["verdict"].eq(table["robust"].map({True: "robust", False: "normal"}))
    judged = table[table["metric"] == "orthogonality_z"].groupby("dataset")["right"].agg(["sum", "count"])
    page = " ".join(_page("docs/quickstart.md").split())
    fonts, cifar10 = judged.loc["fonts"], judged.loc["cifar10"]
    assert f"orthogonality: right for {fonts['sum']} of {fonts['count']} networks left out" in page
    assert f"(orthogonality: right for {cifar10['sum']} of {cifar10['count']})" in page
    entropy = table[table["metric"].eq("variance_entropy_z") & table["dataset"].eq("fonts")]
    assert f"variance entropy is right for {entropy['right'].sum()}, but for no robust network of one" in page
    robust = entropy[entropy["robust"]].groupby("architecture")["right"].any()
    assert (~robust).sum() == 1


def test_flatness_of_the_cifar10_pair_is_that_of_its_run() -> None:
    table = pd.read_csv(EVIDENCE / "flatness-cifar10.csv").pivot_table(
        index="model_id", columns="metric", values="value"
    )
    page = _page("docs/lenses/flatness.md").replace("−", "-")
    for side in ("robust", "normal"):
        found = table.loc[f"resnet20-{side}"]
        (row,) = (line for line in page.splitlines() if line.startswith(f"  | {side} ResNet-20 |"))
        _, loss, average, worst = (cell.strip() for cell in row.strip(" |").split("|"))
        assert float(loss) == pytest.approx(found["flatness_reference_loss"], rel=3e-3)
        assert average == f"{found['average_flatness']:.2f} ({found['average_flatness_error']:.2f})"
        assert float(worst) == pytest.approx(found["worst_flatness"], rel=4e-3)
