"""A score of a built-in lens and a whole lens, each written in one place of another package, are found everywhere."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from scripts import load_script
from small_zoo import FIELDS, make_zoo

import filterlens
from filterlens.commands.report import all_figures, all_tables
from filterlens.errors import InputError
from filterlens.lens import all_lenses, get_lens, get_score, options_of
from filterlens.report import read_run, write_report
from filterlens.runs.ledger import Ledger

FILES = {
    # (a) one function adds a score to the filters lens
    "positive.py": '''
from filterlens import score


@score(lens="filters", title="Positive weights", formula="#{w > 0} / n", reference="this test", bounds=(0, 1),
       unit="share", robust_is="higher", claim="this test, line 1: more", by_depth=True, weight="n_filters")
def positive(layer):
    """Share of weights above zero."""
    return float((layer.weight > 0).double().mean())
''',
    # (b) one folder is a lens
    "spread/__init__.py": """
from dataclasses import dataclass

from filterlens import Lens, Options
from filterlens.lens import option


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadOptions(Options):
    spread_power: float = option(default=2.0, help="Exponent of the spread.")


LENS = Lens(
    name="spread", title="Spread of weights", summary="How far weights spread.", options=SpreadOptions,
    extract="spread.arithmetic:extract", analyze="spread.arithmetic:analyze", measure="spread.arithmetic:measure",
    scores=("spread.arithmetic",), figures="spread.shown:FIGURES", tables="spread.shown:TABLES", attack_free=True,
)
""",
    "spread/arithmetic.py": '''
from filterlens.lens import score_rows
from filterlens.score import score


@score(lens="spread", title="Spread", formula="E |w|^p", reference="this test", bounds=(0, None), by_depth=True)
def spread(record):
    """Mean absolute weight to the chosen power."""
    return (abs(record["weight"]) ** record["power"]).mean()


def _rows(weights, power):
    for place, (name, weight) in enumerate(weights):
        depth = {"conv_depth": float(place), "conv_depth_norm": place / max(1, len(weights) - 1)}
        for row in score_rows("spread", {"weight": weight, "power": power}):
            yield {"layer": name, "kind": "conv", **depth, **row}


def extract(context):
    context.group.set_attributes(power=context.options.spread_power)
    for name, weight in context.model.weights.items():
        if weight.ndim == 4:
            context.group.write(name.removesuffix(".weight"), weight.numpy())


def analyze(group):
    return _rows([(name, group.read(name)) for name in group.names()], float(group.attributes["power"]))


def measure(network, images, options):
    named = [(name, p.detach().numpy()) for name, p in network.named_parameters() if p.ndim == 4]
    return _rows([(name.removesuffix(".weight"), weight) for name, weight in named], options.spread_power)
''',
    "spread/shown.py": '''
from filterlens.report.figure import Drawing, Figure
from filterlens.report.formats import Column, Table


def draw(run):
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas()
    data = run.models[["spread"]].reset_index()
    canvas.subplots().plot(data["spread"])
    return Drawing(canvas, data, "Spread of each model, drawn by its own lens.")


def widest(run, models):
    """The widest models."""
    frame = models.sort_values("spread").reset_index()
    columns = (Column("model_id", "model", "name"), Column("spread", "spread"))
    return Table("widest", "Widest models", "By spread.", frame, columns, lens="spread")


FIGURES = (Figure("spread_models", "spread", "Spread of models", draw),)
TABLES = (widest,)
''',
    "proof-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: proof\nVersion: 1\n",
    "proof-1.dist-info/entry_points.txt": (
        "[filterlens.scores]\npositive = positive\n\n[filterlens.lenses]\nspread = spread:LENS\n"
    ),
}
MINE = ("positive", "spread")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install the package: its folder on `sys.path`, with the metadata that pip would write; forget it afterwards."""
    folder = tmp_path_factory.mktemp("site")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        module = sys.modules["filterlens.score"]
        patch.setattr(module, "_REGISTERED", dict(module._REGISTERED))
        all_lenses.cache_clear()
        yield folder
    all_lenses.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] in MINE]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two matched pairs, which are the checkpoints of one training too, so that every kind of figure is drawn."""
    path = make_zoo(tmp_path_factory.mktemp("zoo"))
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))[1:]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([(*FIELDS, "epoch"), *([*row, epoch] for epoch, row in enumerate(rows))])
    return path


@pytest.fixture(scope="module")
def run(site: Path, catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an audit with both lenses; of all figures only those that may show the new scores."""
    folder = tmp_path_factory.mktemp("run")
    outcome = filterlens.extract(catalog, folder, lenses=["filters", "spread"])
    assert outcome.count("ok") == len(outcome.rows)
    filterlens.analyze(folder)
    figures = [f for f in all_figures() if f.lens == "spread" or f.name in {"filters_depth", "filters_trajectory"}]
    write_report(folder, figures=figures, tables=all_tables())
    return folder


def command(site: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(site), "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    start = [sys.executable, "-c", "from filterlens.cli import main; main()"]
    done = subprocess.run(
        [*start, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["audit", "extract"])
def test_help_names_the_lens_and_its_option(site: Path, name: str) -> None:
    said = " ".join(command(site, name, "--help").split())
    assert re.search(r"Comma-separated or repeated: filters, [^;]*spread", said)
    assert "Spread lens" in said
    assert re.search(r"--spread-power .*Exponent of the spread. .*2\.0", said)


def test_explain_lists_and_explains_both_scores(site: Path) -> None:
    every = command(site, "explain")
    assert re.search(r"^  positive +Share of weights above zero\.$", every, re.MULTILINE)
    assert re.search(r"^spread\n  spread +Mean absolute weight", every, re.MULTILINE)
    assert every.index("positive") < every.index("\ndownsampling")  # among the scores of its lens
    assert "#{w > 0} / n" in command(site, "explain", "positive")
    assert get_score("spread").formula == "E |w|^p"


def test_measure_scores_a_network_in_memory_with_the_options_of_the_lens(site: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3))
    weight = network.get_parameter("0.weight").detach()
    assert filterlens.measure(network)["positive"][0] == pytest.approx(float((weight > 0).float().mean()))
    for power in (2.0, 3.0):
        table = filterlens.measure(network, lens="spread", spread_power=power)
        assert table["spread"][0] == pytest.approx(float((weight.abs() ** power).mean()))


@pytest.mark.parametrize("name", MINE)
@pytest.mark.parametrize("table", ["models", "robust_vs_normal", "by_depth", "trajectory", "columns"])
def test_tables_hold_both_scores(run: Path, table: str, name: str) -> None:
    frame = pd.read_csv(run / "tables" / f"{table}.csv")
    title = {"positive": "Positive weights", "spread": "Spread"}[name]
    assert name in frame.columns if table in {"models", "trajectory"} else frame.isin([title]).any(axis=None)


def test_the_lens_brings_a_table_and_a_figure_of_its_own(run: Path) -> None:
    assert len(pd.read_csv(run / "tables" / "widest.csv")) == 4
    assert len(pd.read_csv(run / "figures" / "spread_models.csv")) == 4
    assert (run / "figures" / "spread_models.pdf").is_file()


@pytest.mark.parametrize(("lens", "name"), [("filters", "positive"), ("spread", "spread")])
@pytest.mark.parametrize("figure", ["depth", "trajectory"])
def test_figures_by_depth_and_by_epoch_show_both_scores(run: Path, figure: str, lens: str, name: str) -> None:
    assert name in set(pd.read_csv(run / "figures" / f"{lens}_{figure}.csv")["metric"])


def test_no_lens_has_a_depth_figure_without_a_score_by_depth(site: Path) -> None:
    by_depth = [figure.lens for figure in all_figures() if figure.name.endswith("_depth")]
    assert {"filters", "spread"} <= set(by_depth)
    assert "flatness" not in by_depth


def test_the_page_shows_both_scores_and_the_lens_with_its_table_and_figure(run: Path) -> None:
    page = (run / "index.html").read_text(encoding="utf-8")
    for text in ("Positive weights", "Share of weights above zero", "Spread of weights", "Mean absolute weight"):
        assert text in page, text
    for text in ("Widest models", "drawn by its own lens", "spread_power"):
        assert text in page, text


def test_the_generated_docs_hold_both_scores(site: Path) -> None:
    text = load_script("docs/make_reference.py").score_reference()
    filters, spread = text.index("## Filters lens"), text.index("## Spread lens")
    assert filters < text.index("### positive") < text.index("## Downsampling lens") < spread
    assert spread < text.index("### spread")
    assert "- **robust models**: higher (this test, line 1: more)\n" in text[text.index("### positive") :]


def test_scores_of_a_file_without_the_package_keep_their_names(run: Path) -> None:
    assert set(MINE) <= set(read_run(run).scores["metric"])


def test_the_option_decides_whether_a_dump_is_still_good(run: Path, catalog: Path) -> None:
    lens = get_lens("spread")
    settings = filterlens.RunSettings()
    options = [options_of(lens, given) for given in ({}, {"spread_power": 3.0})]
    assert lens.parameters(options[0], settings) != lens.parameters(options[1], settings)

    def keys(name: str) -> set[str]:
        return {row.key for (_, lens), row in Ledger(run / "ledger.jsonl").latest().items() if lens == name}

    before = {name: keys(name) for name in ("filters", "spread")}
    again = filterlens.extract(catalog, run, lenses=["filters", "spread"])
    assert again.reused == len(again.rows) == 8
    with pytest.raises(InputError, match=r"spread: spread_power was 2\.0, not 3\.0"):
        filterlens.extract(catalog, run, lenses=["filters", "spread"], spread_power=3.0)
    filterlens.extract(catalog, run, lenses=["filters", "spread"], spread_power=3.0, replace=True)
    assert keys("filters") == before["filters"]  # the filters lens has no such option
    assert not keys("spread") & before["spread"]
    rows = filterlens.analyze(run)
    cubes = rows[(rows["metric"] == "spread") & (rows["model_id"] == "net0-robust")].set_index("layer")["value"]
    weight = torch.load(catalog.parent / "net0-robust.pt", weights_only=True)["state_dict"]["stem.weight"]
    assert cubes["stem"] == pytest.approx(float((weight.abs() ** 3).mean()))
    assert json.dumps(3.0) in (run / "run.toml").read_text(encoding="utf-8")
