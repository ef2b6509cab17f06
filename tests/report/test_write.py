"""A report's folder: what is there, whole or not there, and what the page says."""

from __future__ import annotations

import html.parser
import json
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report.synthetic import HOSTILE, Model, score_rows, write_run, zoo

from filterlens.errors import ReportError
from filterlens.report import ReportWarning, write_report
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing, Figure
from filterlens.report.hover import Matrix

PAGE = import_module("filterlens.report.page")  # `filterlens.report` is a function too


def draw_line(run: RunData) -> Drawing:
    from matplotlib.figure import Figure as MatplotlibFigure

    figure = MatplotlibFigure(figsize=(2, 1))
    figure.subplots().plot([0, 1], [0, 1])
    return Drawing(figure, pd.DataFrame({"x": [0, 1], "y": [0, 1]}), f"A line over {len(run.catalog)} models.")


def draw_broken(run: RunData) -> Drawing:
    raise ZeroDivisionError("nothing to divide by")


LINE = Figure("line", "filters", "A line", draw_line)
BROKEN = Figure("broken", "filters", "A broken figure", draw_broken)
ABSENT = Figure("absent", "flatness", "Nothing to show", lambda run: None)


class Page(html.parser.HTMLParser):
    """Count tags, collect links and ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            {"href": self.links, "src": self.sources, "id": self.ids}.get(name, []).append(value or "")
            self.attributes.setdefault(name, []).append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)


def test_a_report_holds_tables_figures_and_a_page(make_run: Callable[..., Path]) -> None:
    folder = make_run(8)
    done: list[tuple[int, int]] = []
    index = write_report(folder, figures=[LINE, ABSENT], progress=lambda *step: done.append(step))
    assert index == folder / "index.html"
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    names = {path.name for path in (folder / "figures").iterdir()}
    assert names == {"line.pdf", "line.png", "line.csv", "line.txt"}
    for table in ("models", "robust_vs_normal", "robust_vs_normal_by_dataset", "by_depth", "correlation", "columns"):
        for kind in ("csv", "tex", "md"):
            assert (folder / "tables" / f"{table}.{kind}").stat().st_size > 0
    page = Page(index.read_text(encoding="utf-8"))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    beside = [link for link in page.links if not link.startswith(("#", "data:"))]
    assert all((folder / link).is_file() for link in beside)
    assert not [path for path in folder.rglob("*") if path.suffix == ".tmp"]


def test_the_summary_says_what_the_numbers_say(make_run: Callable[..., Path]) -> None:
    text = write_report(make_run(16), figures=()).read_text(encoding="utf-8")
    assert "24 models on cifar10 and cifar100: 16 robust, 8 normal. 16 pairs over 8 distinct normal models." in text
    assert "in 16 of 16 pairs, p\u00a0=\u00a00.008, as claimed." in text


def test_a_failing_figure_is_a_warning_and_named_in_the_report(make_run: Callable[..., Path]) -> None:
    folder = make_run(4)
    with pytest.warns(ReportWarning, match=r"figure 'broken' could not be drawn: ZeroDivisionError: nothing"):
        index = write_report(folder, figures=[BROKEN, LINE])
    assert "ZeroDivisionError: nothing to divide by" in index.read_text(encoding="utf-8")
    assert {path.stem for path in (folder / "figures").iterdir()} == {"line"}


def test_an_older_figure_does_not_outlive_its_report_but_foreign_files_do(make_run: Callable[..., Path]) -> None:
    folder = make_run(4)
    write_report(folder, figures=[LINE])
    (folder / "figures" / "mine.png").write_bytes(b"x")
    manifest = json.loads((folder / "report.json").read_text())
    manifest["files"] += ["../outside.txt", "catalog.csv", "figures/../catalog.csv"]
    (folder / "report.json").write_text(json.dumps(manifest))
    write_report(folder, figures=[])
    assert [path.name for path in (folder / "figures").iterdir()] == ["mine.png"]
    assert (folder / "catalog.csv").is_file()


def test_a_folder_without_analysis_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"is not an audit's folder: it has no catalog\.csv"):
        write_report(tmp_path)


def test_figures_lie_beside_the_page_by_flag(make_run: Callable[..., Path]) -> None:
    folder = make_run(4)
    assert Page(write_report(folder, figures=[LINE], inline=False).read_text()).sources == ["figures/line.png"]
    assert Page(write_report(folder, figures=[LINE]).read_text()).sources[0].startswith("data:image/webp;base64,")


def test_hostile_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    models = [Model("normal", "cifar10", "ResNet-20", False)]
    shown = [name for name in HOSTILE if name.isprintable()]  # a catalog takes no others as ids
    models += [Model(name, name[:40], name[:40], True, "normal", 80.0, 40.0, name) for name in shown]
    ledger: list[dict[str, object]] = [
        {"model_id": "normal", "lens": f"lens{i}", "status": "failed", "reason": name, "seconds": 0.1}
        for i, name in enumerate(HOSTILE)
    ]
    folder = write_run(tmp_path / "run", models, score_rows(models, 2), ledger)
    text = write_report(folder).read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("script") == 2  # data and program
    data = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    assert [name for name, _ in data["models"]] == [model.model_id for model in models]
    assert page.tags.count("style") == 1
    assert page.tags.count("img") == 0
    assert not page.handlers
    assert not [link for link in page.links if link.startswith(("javascript", "http"))]


def test_a_run_without_pairs_is_told_so(tmp_path: Path) -> None:
    models = [Model("only", robust=None)]
    folder = write_run(tmp_path / "run", models, score_rows(models, 3))
    text = write_report(folder).read_text(encoding="utf-8")
    assert "No robust model has a matched normal model here, so that nothing is compared." in text
    assert not (folder / "tables" / "robust_vs_normal.csv").exists()


def test_a_link_to_a_model_names_the_model(make_run: Callable[..., Path]) -> None:
    page = Page(write_report(make_run(4), figures=()).read_text(encoding="utf-8"))
    assert {"model-cifar10-robust-0", "model-cifar100-normal-0"} <= set(page.ids)
    assert "#model-cifar10-robust-0" in page.links


def test_layers_beyond_the_budget_lie_beside_the_page(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(4)
    whole = write_report(folder, figures=()).read_text(encoding="utf-8")
    assert not list((folder / "tables").glob("layers-*.html"))
    monkeypatch.setattr(PAGE, "_LAYERS_BUDGET", 1000)
    index = write_report(folder, figures=())
    text = index.read_text(encoding="utf-8")
    beside = {path.name for path in (folder / "tables").glob("layers-*.html")}
    assert beside == {f"layers-{name[6:]}.html" for name in Page(text).ids if name.startswith("model-")}
    assert "layer11.conv" in whole
    assert "layer11.conv" not in text
    layers = (folder / "tables" / "layers-cifar10-robust-0.html").read_text(encoding="utf-8")
    assert "layer11.conv" in layers
    assert "../index.html#model-cifar10-robust-0" in Page(layers).links
    assert "script" not in Page(layers).tags
    monkeypatch.undo()
    write_report(folder, figures=())
    assert not list((folder / "tables").glob("layers-*.html"))  # what is no longer made is taken away


def test_hostile_names_are_text_in_attributes_and_data_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = [name for name in HOSTILE if name.isprintable()]
    models = [Model("normal", "cifar10", "ResNet-20", False)]
    models += [Model(name, name[:40], name[:40], True, "normal", 80.0, 40.0 + i) for i, name in enumerate(shown)]
    folder = write_run(tmp_path / "run", models, score_rows(models, 2))
    monkeypatch.setattr(PAGE, "_LAYERS_BUDGET", 0)

    def draw_points(run: RunData) -> Drawing:
        from matplotlib.figure import Figure as MatplotlibFigure

        figure = MatplotlibFigure(figsize=(4, 2))
        data = run.models["robust_acc"].reset_index()
        axes = figure.subplots()
        axes.scatter(range(len(data)), data["robust_acc"])
        values = np.eye(len(data))
        return Drawing(figure, data, "Points.", Matrix(tuple(data["model_id"]), values, "nats", axes))

    for listed in (1000, 1):
        monkeypatch.setattr(PAGE, "_LISTED", listed)
        index = write_report(folder, figures=[Figure("points", "filters", "Points", draw_points)])
        text = index.read_text(encoding="utf-8")
        page = Page(text)
        assert (page.tags.count("script"), page.tags.count("img")) == (2, 1)
        assert not page.handlers
        assert not [link for link in page.links if link.startswith(("javascript", "http"))]
        points = json.loads(page.attributes["data-points"][0])
        assert {name for _, _, name, _ in points} == set(shown)  # the normal model has no accuracy
        assert json.loads(page.attributes["data-grid"][0])["models"] == ["normal", *shown]
        data = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
        assert {name for name, _ in data["models"]} == set(shown) | {"normal"}
        beside = [link for link in page.links if not link.startswith(("#", "data:"))]
        assert all((folder / link).is_file() for link in beside)
        assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
        assert all(re.fullmatch(r"model-[\w.-]+", place) for _, place in data["models"])
    for path in (folder / "tables").glob("layers-*.html"):
        page = Page(path.read_text(encoding="utf-8"))
        assert not page.handlers
        assert not {"script", "img"} & set(page.tags)


def test_more_models_than_a_page_lists_are_shown_in_groups(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PAGE, "_LISTED", 10)
    folder = make_run(12)
    text = write_report(folder, figures=()).read_text(encoding="utf-8")
    assert "18 models (12 robust, 6 normal), in means of each data set, architecture and side." in text
    assert len(pd.read_csv(folder / "tables" / "models.csv")) == 18
    page = Page(text)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_how_it_was_made_says_command_settings_and_digest_and_no_path(tmp_path: Path) -> None:
    models = zoo(8)
    secret = "/home/ada/zoo"
    ledger: list[dict[str, object]] = [
        {
            "model_id": model.model_id,
            "lens": lens,
            "status": "failed",
            "reason": f"{secret}/net.pt is torn",
            "seconds": 1,
        }
        for model in models
        for lens in ("filters", "spectra")
    ]
    folder = write_run(tmp_path / "run", models, score_rows(models, 2), ledger)
    (folder / "run.toml").write_text(
        f'[run]\nleaderboard = "{secret}/mine.csv"\n\n[content]\n"data.cifar10" = "sha256:12ab"\n', encoding="utf-8"
    )
    text = write_report(folder, figures=()).read_text(encoding="utf-8")
    assert "filterlens audit --config run.toml --out again" in text
    assert "sha256:12ab" in text
    assert "/home/ada" not in text
    assert str(tmp_path) not in text
    assert "leaderboard = &#34;…/mine.csv&#34;" in text
    failures = text.split('id="table-failures"')[1].split("</table>")[0]
    assert failures.count("…/net.pt is torn") == 2  # once a lens, and not once a model


def test_what_holds_for_many_tables_is_said_once_on_the_page(make_run: Callable[..., Path]) -> None:
    folder = make_run(16)
    text = write_report(folder, figures=()).read_text(encoding="utf-8")
    assert text.count("exact Wilcoxon") == 1
    for name in ("robust_vs_normal", "robust_vs_normal_by_dataset", "by_depth"):
        assert "exact Wilcoxon" in (folder / "tables" / f"{name}.md").read_text(encoding="utf-8")
    assert text.count("no p-value and no interval") <= 2


@pytest.mark.slow
def test_a_hundred_and_fifty_models_make_a_page_under_five_megabytes(tmp_path: Path) -> None:
    models = zoo(100, datasets=("cifar10", "cifar100", "imagenet"), shared=2)
    assert len(models) >= 150
    folder = write_run(tmp_path / "run", models, score_rows(models, 40))
    assert write_report(folder, figures=[LINE]).stat().st_size < 5_000_000
