"""The harness itself: what it does not see, it cannot rule out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hostile.markup import active
from hostile.payload import WAYS, Payload
from hostile.payloads import collection
from hostile.run import markdown, run
from hostile.ways import BATCH, command


def test_every_way_in_has_at_least_500_payloads() -> None:
    counts = {way: sum(way in payload.ways for payload in collection()) for way in WAYS}
    assert all(count >= 500 for way, count in counts.items() if way != "jobs"), counts


def test_every_payload_says_what_it_does() -> None:
    assert all(payload.about and payload.ways for payload in collection())


def test_code_that_runs_is_seen() -> None:
    """A trusted pickle does run: then the marker, the shell and the names are found, by each route."""
    results, wrong = run(
        ["inspect"],
        contains="os.system, GLOBAL, value, zip|os.system, GLOBAL, value, legacy",
        sample=8,
        kinds=["pickle"],
        seed=3,
        options=["--trust-pickle"],
    )
    assert not wrong
    ran = [result for result in results if "executed" in result.flags]
    assert ran, [(result.id, result.said) for result in results]
    assert f"| pickle | inspect | {len(results)} | {len(ran)} |" in markdown(results)


def test_events_of_every_sort_are_recorded(tmp_path: Path) -> None:
    """In a process of its own: an audit hook stays until its end."""
    code = f"""
import os, socket, subprocess, sys
from pathlib import Path
from hostile.watch import Watch, Opened
home = Path({str(tmp_path)!r})
(home / "secret").write_text("x")
watch, opened = Watch(home / "log"), Opened(home)
opened.seen()
watch.start([home / "own"])
exec(compile("zq7x = 1", "<string>", "exec"))
exec(compile("x = 1", "elsewhere.py", "exec"))
subprocess.run(["true"])
try: socket.create_connection(("127.0.0.1", 9), 0.1)
except OSError: pass
open(home / "foreign", "w").close()
os.makedirs(home / "own"); open(home / "own" / "fine", "w").close()
os.symlink("a", home / "link")
os.remove(home / "link")
(home / "secret").read_text()
import colorsys
"""
    code += "print(sorted({sort for sort, _ in watch.stop(['colorsys'])}), 'secret' in opened.seen())"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert found.stdout.strip() == "['code', 'executed', 'import', 'process', 'socket', 'write'] True", found.stderr


@pytest.mark.parametrize("way", BATCH)
def test_every_payload_of_a_batch_comes_in(way: str, tmp_path: Path) -> None:
    work, good = tmp_path / "work", tmp_path
    work.mkdir()
    (good / "good.pt").touch()
    placed = []
    for number in range(3):
        path = tmp_path / f"{number}" / "m.pt"
        path.parent.mkdir()
        path.write_text(f"payload {number}")
        placed.append((Payload("kind", f"{number}", "", lambda _: None, "m.pt"), path))
    given = " ".join(command(way, placed, work, good))
    given += "".join(file.read_text() for file in work.rglob("*") if file.is_file())
    assert all(f"payload {number}" in given or str(path) in given for number, (_, path) in enumerate(placed))


@pytest.mark.parametrize(
    "page",
    [
        "<script>zq7x</script>",
        '<img alt=""><img src=x onerror=zq7x>',
        "<svg onload='zq7x'>",
        '<a href="javascript:zq7x">a</a>',
        "[text](<a>)<IFRAME src=zq7x>",
        "<zq7x>",
        "<p zq7x=1>",
        "<style>a{}zq7x</style>",
        "<script>var a = '</script><script>zq7x'</script>",
    ],
)
def test_markup_is_found(page: str) -> None:
    assert active(f"<p>before</p>{page}<p>after</p>")


@pytest.mark.parametrize(
    "page",
    [
        "<p>&lt;script&gt;zq7x&lt;/script&gt;</p>",
        '<img src="data:image/png;base64,zq7x" alt="&quot;&gt;&lt;img onerror=zq7x&gt; by depth">',
        '<h2 id="model-zq7x" title="zq7x">a</h2><a href="#model-zq7x">zq7x</a>',
        "<script>1</script><p>zq7x</p>",
    ],
)
def test_text_of_a_page_is_no_markup(page: str) -> None:
    assert active(page) is None
