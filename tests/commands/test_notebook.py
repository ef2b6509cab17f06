"""A finished run in a notebook, and the tutorial that shows it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from report.synthetic import score_rows, write_dumps, write_pool, write_run, zoo

import filterlens
from filterlens.errors import ReportError

DOCS = Path(__file__).resolve().parents[2] / "docs"
TUTORIAL = DOCS / "tutorial.ipynb"


@pytest.fixture
def run(tmp_path: Path) -> filterlens.Run:
    models = zoo(8, datasets=("cifar10", "<b>"), shared=2)
    folder = write_run(tmp_path / "<run>", models, score_rows(models, 6))
    write_dumps(folder, models)
    write_pool(folder, models)
    return filterlens.Run(folder)


@pytest.fixture
def closed_figures() -> Iterator[None]:
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


class Cells(HTMLParser):
    """The text of every cell of a table, and every tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.cells += [data.strip()] if data.strip() else []


def test_a_run_shows_itself_as_a_table_of_its_comparisons(run: filterlens.Run) -> None:
    shown = Cells(run._repr_html_())
    assert shown.cells[0] == repr(run)
    assert shown.cells[1:6] == ["score", "robust", "normal", "difference", "adjusted p"]
    assert shown.cells[6::5] == run.pairs["title"].tolist()
    means = [float(cell) for cell in shown.cells[7::5]]
    assert means == pytest.approx(run.pairs["robust_mean"].tolist(), rel=0.01)


def test_names_from_outside_cannot_bring_markup_into_a_notebook(run: filterlens.Run) -> None:
    assert Cells(run._repr_html_()).tags == {"p", "table", "thead", "tbody", "tr", "th", "td"}


def test_scores_models_and_pairs_agree(run: filterlens.Run) -> None:
    assert set(run.scores["model_id"]) == set(run.models.index)
    assert f"{len(run.models)} models, 8 pairs" in repr(run)
    pair = run.pairs.set_index("metric").loc["variance_entropy"]
    assert pair["robust_mean"] - pair["normal_mean"] == pytest.approx(pair["difference"], abs=0.05)
    robust = run.models.index[run.models["robust"].astype(bool)]
    assert pair["robust_mean"] == pytest.approx(run.models.loc[robust, "variance_entropy"].mean())


@pytest.mark.usefixtures("closed_figures")
def test_a_figure_is_drawn_by_name(run: filterlens.Run) -> None:
    figure = run.figure("filters_depth")
    assert isinstance(figure, Figure)
    assert figure.axes
    assert "filters_depth" in run.figures


def test_a_figure_that_is_not_there_is_an_error_that_names_what_is(run: filterlens.Run) -> None:
    with pytest.raises(ReportError, match=r"no figure is called 'aliasing'; there are filters_depth, "):
        run.figure("aliasing")
    with pytest.raises(ReportError, match="holds nothing for the figure 'flatness_landscape'"):
        run.figure("flatness_landscape")


@pytest.mark.slow
def test_the_tutorial_runs_and_shows_what_its_page_shows(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="the extra filterlens[dev] brings Jupyter's kernel")
    script = [sys.executable, str(DOCS / "make_tutorial.py"), str(tmp_path / "run.ipynb")]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    shown, ran = (nbformat.read(path, as_version=4).cells for path in (TUTORIAL, tmp_path / "run.ipynb"))
    for cell, new in zip(shown, ran, strict=True):
        assert cell.source == new.source
        kinds = [[sorted(output.get("data", ["text"])) for output in each.get("outputs", [])] for each in (cell, new)]
        assert kinds[0] == kinds[1], f"run `python docs/make_tutorial.py`: {cell.source}"
        assert not [output for output in new.get("outputs", []) if output.get("name") == "stderr"], cell.source


def test_links_of_the_tutorial_lead_to_pages() -> None:
    links = re.findall(r"\]\((?!http)([^)]+)\)", TUTORIAL.read_text(encoding="utf-8"))
    assert links
    for link in links:
        page = re.fullmatch(r"\.\./([\w-]+)/", link)
        assert page is not None, link
        assert (DOCS / f"{page[1]}.md").is_file(), link
