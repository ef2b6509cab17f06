"""The page in a real browser: sorting, filtering, no error, no request."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest

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
  location.hash = "#model-2";
  performance.getEntriesByType("resource").forEach(function (one) { if (one.name.indexOf("data:") !== 0) { seen.requests.push(one.name); } });
  seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  setTimeout(function () {
    seen.opened = document.getElementById("model-2").open;
    document.body.setAttribute("data-seen", JSON.stringify(seen));
  }, 300);
});
</script>"""  # noqa: E501 - JavaScript


@pytest.fixture
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("Chromium is not installed")
    return found


@pytest.mark.parametrize("width", [1400, 420])
def test_the_page_sorts_filters_and_asks_for_nothing(
    chromium: str, make_run: Callable[..., Path], tmp_path: Path, width: int
) -> None:
    index = write_report(make_run(12, pictures=True), figures=FIGURES[:2])
    text = index.read_text(encoding="utf-8")
    probe = index.with_name("probe.html")
    probe.write_text(text.replace("<style>", BEFORE + "<style>", 1).replace("</body>", AFTER + "</body>", 1))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    options += [f"--window-size={width},900", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run([chromium, *options, probe.as_uri()], capture_output=True, timeout=200, check=True)
    found = re.search(r'data-seen="([^"]*)"', done.stdout.decode())
    assert found is not None, done.stderr.decode()[-2000:]
    seen = json.loads(unescape(found[1]))
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
