"""The page in a real browser: sorting, filtering, no error, no request, nothing that axe-core finds.

Chromium is looked for on the PATH; axe-core's `axe.min.js` (of the npm package `axe-core`) where `AXE` says.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from report.chromium import Chromium, start

from filterlens.lenses.filters.figures import FIGURES
from filterlens.report import write_report

pytestmark = pytest.mark.browser

BEFORE = """<script>
window.seen = {errors: [], requests: []};
window.addEventListener("error", function (event) { seen.errors.push(String(event.message)); });
document.addEventListener("securitypolicyviolation", function (event) { seen.requests.push(event.blockedURI); });
var complain = console.error;
console.error = function () { seen.errors.push(Array.prototype.join.call(arguments, " ")); };
</script>"""

AFTER = """<script>
window.addEventListener("load", function () {
  var table = document.querySelector("#table-models table"), heads = table.tHead.rows[0].cells;
  function column(i) { return Array.prototype.map.call(table.tBodies[0].rows, function (row) { return row.cells[i].textContent; }); }
  var place = Array.prototype.findIndex.call(heads, function (head) { return head.textContent.indexOf("Sparsity") === 0; });
  var button = heads[place].querySelector("button");
  seen.focusable = (button.focus(), document.activeElement === button);
  button.click();
  seen.up = column(place); seen.up_state = heads[place].getAttribute("aria-sort");
  button.click();
  seen.down = column(place); seen.down_state = heads[place].getAttribute("aria-sort");
  var input = document.querySelector("#table-models .find input");
  input.value = "robust-1"; input.dispatchEvent(new Event("input"));
  seen.shown = Array.prototype.filter.call(table.tBodies[0].rows, function (row) { return !row.hidden; }).map(function (row) { return row.cells[0].textContent; });
  seen.status = document.querySelector("#table-models .find [role=status]").textContent;
  var place = document.querySelector("#table-models tbody a").getAttribute("href");
  location.hash = place;
  performance.getEntriesByType("resource").forEach(function (one) { if (one.name.indexOf("data:") !== 0) { seen.requests.push(one.name); } });
  seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  setTimeout(function () {
    seen.opened = document.getElementById(place.slice(1)).open;
    document.body.setAttribute("data-seen", JSON.stringify(seen));
  }, 300);
});
</script>"""  # noqa: E501 - JavaScript


EXPLORE = """<script>
window.addEventListener("load", function () {
  var table = document.querySelector("#table-models"), count = table.querySelector(".find [role=status]");
  function rows() { return Array.prototype.filter.call(table.querySelectorAll(".scroll:not([hidden]) tbody tr"), function (row) { return !row.hidden; }); }
  function choose(select, value) { select.value = value; select.dispatchEvent(new Event("change")); }
  var selects = {};
  table.querySelectorAll("select").forEach(function (one) { selects[one.getAttribute("aria-label")] = one; });
  seen.filters = Object.keys(selects);
  choose(selects["robust"], "=no"); choose(selects["data set"], "=cifar100");
  seen.normal = rows().map(function (row) { return row.querySelector("a").textContent; });
  seen.count = count.textContent;
  seen.marks = document.querySelectorAll("#plot .marks a").length;
  choose(selects["robust"], "*"); choose(selects["data set"], "*");
  var input = table.querySelector(".find input");
  input.value = "cifar"; input.dispatchEvent(new Event("input"));
  seen.found = rows().length;
  var boxes = table.querySelectorAll("td.m input");
  boxes[0].click(); boxes[1].click(); boxes[2].click();
  seen.beside = Array.prototype.map.call(document.querySelectorAll("#beside thead th"), function (head) { return head.textContent; });
  seen.compared = Array.prototype.filter.call(boxes, function (one) { return one.checked; }).length;
  var line = Array.prototype.find.call(document.querySelectorAll("#beside tbody tr"), function (row) { return row.cells[0].textContent.indexOf("Sparsity") === 0; });
  seen.difference = Array.prototype.map.call(line.cells, function (cell) { return cell.textContent; });
  var across = document.querySelector("#chart select");
  choose(across, "orthogonality");
  seen.axis = document.querySelector("#plot text.name").textContent;
  function point(picture, x, y, kind) {
    var frame = picture.getBoundingClientRect();
    picture.dispatchEvent(new MouseEvent(kind, { clientX: frame.left + x * frame.width, clientY: frame.top + y * frame.height, bubbles: true }));
    return document.querySelector(".tip").hidden ? "" : document.querySelector(".tip").textContent;
  }
  var picture = document.querySelector("img[data-grid]");
  if (picture) {
    var grid = JSON.parse(picture.dataset.grid), n = grid.models.length, step = [(grid.box[2] - grid.box[0]) / n, (grid.box[3] - grid.box[1]) / n];
    seen.cell = point(picture, grid.box[0] + 2.5 * step[0], grid.box[1] + 0.5 * step[1], "mousemove");
    seen.expected = grid.models[0] + "\\n" + grid.models[2] + "\\n" + grid.values[2][0] + " " + grid.unit;
    seen.outside = point(picture, 0.001, 0.001, "mousemove");
    point(picture, grid.box[0] + 2.5 * step[0], grid.box[1] + 0.5 * step[1], "click");
    seen.hash = decodeURIComponent(location.hash);
  }
  setTimeout(function () { document.body.setAttribute("data-seen", JSON.stringify(seen)); }, 300);
});
</script>"""  # noqa: E501 - JavaScript

SEEN = """new Promise(function (answer) {
  (function ask() { var text = document.body.getAttribute("data-seen"); if (text) { answer(text); } else { setTimeout(ask, 50); } })();
})"""  # noqa: E501 - JavaScript

FITS = """<script>
window.addEventListener("load", function () {
  document.querySelectorAll("details").forEach(function (one) { one.open = true; });
  seen.hidden = Array.prototype.filter.call(document.querySelectorAll("figure.data .scroll"), function (one) {
    return one.scrollWidth > one.clientWidth && one.getAttribute("aria-label").indexOf("against") > 0;
  }).map(function (one) { return one.getAttribute("aria-label"); });
  seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  seen.figures = Array.prototype.map.call(document.querySelectorAll(".sheet img"), function (one) { return one.getBoundingClientRect().width / one.naturalWidth; });
  document.body.setAttribute("data-seen", JSON.stringify(seen));
});
</script>"""  # noqa: E501 - JavaScript


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("Chromium is not installed")
    with start(found, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def look(chromium: Chromium, index: Path, script: str, width: int) -> dict[str, Any]:
    """Open a page with a script at its end; return what that has seen."""
    text = index.read_text(encoding="utf-8")
    probe = index.with_name("probe.html")
    probe.write_text(text.replace("<style>", BEFORE + "<style>", 1).replace("</body>", script + "</body>", 1))
    chromium.open(probe, width=width)
    assert chromium.run("innerWidth") == width
    return dict(json.loads(chromium.run(SEEN)))


@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_sorts_filters_and_asks_for_nothing(
    chromium: Chromium, make_run: Callable[..., Path], width: int
) -> None:
    index = write_report(make_run(12, pictures=True), figures=FIGURES[:2])
    seen = look(chromium, index, AFTER, width)
    assert seen["errors"] == []
    assert seen["requests"] == []
    assert seen["focusable"]
    assert [float(value) for value in seen["up"]] == sorted(float(value) for value in seen["up"])
    assert seen["down"] == sorted(seen["up"], key=float, reverse=True)
    assert (seen["up_state"], seen["down_state"]) == ("ascending", "descending")
    assert seen["shown"]
    assert all("robust-1" in name for name in seen["shown"])
    assert seen["status"] == f"{len(seen['shown'])} of 18"
    assert seen["opened"]
    assert seen["wide"] <= 0, "the page scrolls sideways"


def explore(chromium: Chromium, index: Path) -> dict[str, Any]:
    seen = look(chromium, index, EXPLORE, 1400)
    assert seen["errors"] == []
    assert seen["requests"] == []
    assert seen["filters"] == ["data set", "architecture", "robust"]
    assert seen["normal"]
    assert all(name.startswith("cifar100-normal") for name in seen["normal"])
    assert seen["marks"] == len(seen["normal"])
    assert seen["found"] == 18
    return seen


def test_models_are_found_compared_and_charted(chromium: Chromium, make_run: Callable[..., Path]) -> None:
    figures = [figure for figure in FIGURES if figure.name == "filters_shift_models"]
    seen = explore(chromium, write_report(make_run(12, pictures=True), figures=figures))
    assert seen["count"] == f"{len(seen['normal'])} of 18"
    assert seen["beside"] == ["side by side", "cifar10-robust-0", "cifar100-normal-0", "difference"]
    assert seen["compared"] == 2
    first, second, difference = (float(text.replace("−", "-")) for text in seen["difference"][1:])
    assert difference == pytest.approx(second - first, abs=1e-6)
    assert seen["axis"].startswith("Orthogonality")
    assert seen["cell"] == seen["expected"]
    assert seen["outside"] == ""
    assert seen["hash"] == f"#model-{seen['cell'].splitlines()[0]}"


def test_a_page_that_lists_groups_still_finds_every_model(
    chromium: Chromium, make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("filterlens.report.page"), "_LISTED", 10)
    index = write_report(make_run(12), figures=())
    assert '<details class="model"' not in index.read_text(encoding="utf-8")
    seen = explore(chromium, index)
    assert seen["compared"] == 2


@pytest.mark.parametrize(("width", "hidden"), [(1400, False), (390, True)])
def test_no_column_of_a_comparison_is_hidden_at_a_desk_and_figures_stay_legible_on_a_phone(
    chromium: Chromium, make_run: Callable[..., Path], width: int, *, hidden: bool
) -> None:
    index = write_report(make_run(16, pictures=True), figures=FIGURES[:1])
    seen = look(chromium, index, FITS, width)
    assert bool(seen["hidden"]) is hidden
    assert seen["wide"] <= 0
    shown = 0.5 if hidden else 0.625  # of the pixels of the picture: larger where there is room
    assert all(share == pytest.approx(shown, abs=0.01) for share in seen["figures"])


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1400, 390])
def test_axe_finds_no_violation(chromium: Chromium, make_run: Callable[..., Path], width: int, *, dark: bool) -> None:
    axe = os.environ.get("AXE", "")
    if not axe:
        pytest.skip("AXE names no axe.min.js")
    chromium.open(write_report(make_run(12, pictures=True), figures=FIGURES[:2]), width=width, dark=dark)
    assert chromium.violations(Path(axe)) == []
