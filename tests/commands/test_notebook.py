"""A finished run in a notebook, and the tutorial that shows it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from report.synthetic import score_rows, write_dumps, write_pool, write_run, zoo

import filterlens
from filterlens.commands.notebook import Frame
from filterlens.errors import InputError, MissingExtraError, ReportError
from filterlens.score import model_scores

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


def test_a_run_is_the_same_table_in_pandas_arrow_and_polars(run: filterlens.Run) -> None:
    polars = pytest.importorskip("polars")
    run.data.scores.loc[run.scores.index[0], "value"] = float("nan")
    frames: dict[Frame, pd.DataFrame] = {
        "scores": run.scores,
        "models": run.models.reset_index(),
        "pairs": run.pairs,
    }
    for of, pandas in frames.items():
        arrow, frame = run.to_arrow(of), run.to_polars(of)
        assert arrow.column_names == frame.columns == list(pandas)
        assert len(arrow) == len(frame) == len(pandas) > 0
    scores, frame = run.scores, run.to_polars()
    assert frame["value"].null_count() == 1, "a score that is not defined"
    assert frame["value"].is_nan().sum() == 0
    assert frame["value"].mean() == pytest.approx(scores["value"].mean())
    assert frame["layer"].to_list() == scores["layer"].tolist()
    assert frame.schema["conv_depth"] == polars.Float64
    with pytest.raises(InputError, match="a run has no table 'score': there are scores, models, pairs"):
        run.to_arrow("score")  # type: ignore[arg-type]


def test_polars_that_is_not_installed_is_named_with_its_extra(
    run: filterlens.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MissingExtraError, match=r'Polars is not installed: pip install "filterlens\[polars\]"'):
        run.to_polars()


def test_the_queries_on_the_page_give_what_the_report_gives(
    run: filterlens.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duckdb = pytest.importorskip("duckdb")
    (tmp_path / "reports").mkdir()
    run.data.folder.rename(tmp_path / "reports" / "mine")
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "frames.md").read_text(encoding="utf-8")
    means, by_depth = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    found = duckdb.sql(means).df().set_index(["metric", "model_id"])["mean"]
    expected = model_scores(run.scores)
    for metric in ("sparsity", "aliasing"):
        assert found[metric].reindex(expected.index).tolist() == pytest.approx(expected[metric].tolist())
    depths = duckdb.sql(by_depth).df()
    rows = run.scores.query("metric == 'orthogonality'")
    first = rows[(rows["conv_depth"] == 0) & rows["model_id"].isin(run.models.index[run.models["robust"].astype(bool)])]
    (robust,) = depths[depths["robust"] & (depths["conv_depth"] == 0)].itertuples()
    assert (robust.mean, robust.layers) == (pytest.approx(first["value"].mean()), len(first))
    (call,) = re.findall(r'duckdb\.sql\("(.*?)"\)', page)
    scores = run.to_arrow()
    assert dict(duckdb.sql(call).fetchall()) == {lens: len(run.models) for lens in set(scores["lens"].to_pylist())}


def test_the_page_is_shown_in_a_frame_of_its_own(run: filterlens.Run) -> None:
    with pytest.raises(ReportError, match=r"has no report: run `filterlens report"):
        run.page()
    text = "<!doctype html><title>a &amp; b</title><script>1 < 2</script>"
    (run.data.folder / "index.html").write_text(text, encoding="utf-8")
    shown = run.page(500)._repr_html_()

    class Frame(HTMLParser):
        found: dict[str, str | None]

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag == "iframe"
            self.found = dict(attrs)

    frame = Frame()
    frame.feed(shown)
    assert frame.found["srcdoc"] == text
    assert frame.found["sandbox"] == "allow-scripts"
    assert "height:500px" in str(frame.found["style"])


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
