"""Names that hold escape sequences are shown as text: on a terminal, in a log file, in tables and on the page."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree as ET

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from small_zoo import weights

from filterlens.cli.console import Display
from filterlens.filterdb.frames import write_frame
from filterlens.process.logs import set_up_logging
from filterlens.process.printable import printable
from filterlens.report.formats import Column, Table, to_csv, to_markdown
from filterlens.report.latex import to_latex
from filterlens.runs import Event
from filterlens.runs.ledger import LedgerRow

ROOT = Path(__file__).parents[2]
NAME = "\x1b]0;PWNED\x07\x1b[2J\x1b[8mconv\r\n\u202e\x9b31m\u200b[red]x[/red][link=https://127.0.0.1]y[/link]:bomb:\x7f"
FILE = NAME.replace("/", "")
# What rich itself writes: colours (8, concealed text, is none), the cursor hidden or moved up, a line cleared.
OWN = re.compile(r"\x1b\[(?:[0-7](?:;\d+)*m|\d\d(?:;\d+)*m|1A|2K|\?25[lh])")
HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u202e]")
RUN_ALL = """
import json, sys
from filterlens.cli import main
for words in json.loads(sys.stdin.read()):
    sys.argv = ["filterlens", *words]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    print("### exit", code, flush=True)
"""


def on_a_terminal(commands: list[list[str]], folder: Path) -> list[tuple[str, int]]:
    """Run commands in one process on a terminal, and return what each wrote, and its exit code."""
    driver, terminal = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "PYTHONWARNINGS"}}
    child = subprocess.Popen(
        [sys.executable, "-c", RUN_ALL], stdin=subprocess.PIPE, stdout=terminal, stderr=terminal, cwd=folder,
        env=clean | {"TERM": "xterm-256color", "COLUMNS": "400", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    os.close(terminal)
    assert child.stdin is not None
    child.stdin.write(json.dumps(commands).encode())
    child.stdin.close()
    written = b""
    try:
        while part := os.read(driver, 1 << 16):
            written += part
    except OSError:  # how a terminal ends when its last user has closed it
        pass
    child.wait(60)
    os.close(driver)
    return [(text, int(code)) for text, code in re.findall(r"(.*?)### exit (\d+)\r\n", written.decode(), re.DOTALL)]


def write_evil_database(path: Path) -> None:
    """Write a data set of filters whose model bears the name."""
    index = pd.MultiIndex.from_tuples([(0, 0, 0.0)], names=["model_id", "conv_depth", "conv_depth_norm"])
    row = {"in_channels": [1], "out_channels": [1], "filter_ids": ["0:0"], "model": [NAME]}
    with h5py.File(path, "w") as file:
        file["filters"] = np.ones((1, 3, 3), dtype=np.float32)
        write_frame(file, "meta", pd.DataFrame(row, index=index))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints whose layers bear the name, one that cannot be read, and a catalog of them."""
    folder = tmp_path_factory.mktemp("escapes")
    for place, name in enumerate(["first", "second", FILE]):
        renamed = {f"{NAME}{key}": value for key, value in weights(place).items()}
        torch.save(renamed, folder / f"{name}.pt")
    (folder / f"{FILE}-broken.pt").write_bytes(b"none")
    with (folder / "zoo.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["model_id", "source", "dataset", "architecture", "robust", "match"])
        rows.writerow(["net1", "first.pt", NAME, NAME, "true", "net2"])
        rows.writerow(["net2", "second.pt", NAME, NAME, "false", ""])
        rows.writerow(["net3", f"{FILE}-broken.pt", NAME, NAME, "", ""])
    write_evil_database(folder / "evil.h5")
    return folder


@pytest.fixture(scope="module")
def ran(folder: Path) -> dict[str, tuple[str, int]]:
    commands = [
        ["inspect", f"{FILE}.pt"],
        ["inspect", "first.pt", "--json"],
        ["compare", "first.pt", "second.pt", "--out", "change.md"],
        ["compare", "first.pt", "second.pt", "--json"],
        ["check", f"{FILE}.pt", "--max-sparsity", "0", "--junit", "check.xml"],
        ["catalogs", "zoo.csv"],
        *(["catalogs", "zoo.csv", "--format", form] for form in ("csv", "json", "markdown")),
        ["extract", "-l", "zoo.csv", "-o", "run", "--log-file", "extract.log"],
        ["analyze", "run", "--verbose"],
        ["export", "filterdb", "run", "--out", f"{FILE}.h5"],
        ["import", "filterdb", "evil.h5", "--out", "imported"],
        ["study", "filters", "run"],
        ["inspect", f"{FILE}-broken.pt"],
        ["inspect", f"missing-{FILE}.pt"],
        ["inspect", "first.pt", f"{FILE}.pt"],
        [FILE],
        ["check", "first.pt", "-b", NAME],
    ]
    written = on_a_terminal(commands, folder)
    assert len(written) == len(commands), written[-1]
    return {f"{place} {words[0]}": found for place, (words, found) in enumerate(zip(commands, written, strict=True))}


@pytest.fixture(scope="module")
def shown(ran: dict[str, tuple[str, int]]) -> dict[str, str]:
    return {command: text for command, (text, _) in ran.items()}


def test_no_command_lets_a_name_reach_the_terminal_as_it_is(shown: dict[str, str]) -> None:
    for command, text in shown.items():
        rest = OWN.sub("", text)
        assert not HIDDEN.findall(rest), (command, rest)
        assert "PWNED" in rest or command in {"4 check", "10 analyze", "13 study"}, (command, rest)


def test_markup_and_emoji_codes_in_names_are_text(shown: dict[str, str]) -> None:
    for command in ("0 inspect", "2 compare", "5 catalogs", "9 extract"):
        joined = re.sub(r"\s", "", OWN.sub("", shown[command]))
        assert r"\x1b]0;PWNED\x07\x1b[2J\x1b[8mconv\r\n\u202e\x9b31m\u200b[red]x[" in joined
        assert ":bomb:" in joined


def test_the_commands_did_what_they_were_told(ran: dict[str, tuple[str, int]]) -> None:
    codes = [code for _, code in ran.values()]
    assert codes == [0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 1, 2, 2, 2]


def test_json_on_a_terminal_means_the_same(shown: dict[str, str]) -> None:
    layers = {row["layer"] for row in json.loads(shown["1 inspect"])["layers"]}
    assert f"{NAME}block.conv" in layers


def test_files_hold_no_raw_control_character(shown: dict[str, str], folder: Path) -> None:
    for name in ("extract.log", "change.md", "check.xml"):
        assert not HIDDEN.findall((folder / name).read_text(encoding="utf-8")), name
    assert "x1b\\]0;PWNED" in (folder / "change.md").read_text(encoding="utf-8")
    assert ET.parse(folder / "check.xml").getroot().get("name") == f"filterlens check {printable(FILE)}.pt"


@pytest.mark.slow
def test_an_audits_comparison_tables_and_page_hold_names_as_text(folder: Path) -> None:
    ((text, code),) = on_a_terminal([["audit", "-l", "zoo.csv", "-o", "audited"]], folder)
    assert code == 1  # for the one that cannot be read
    assert "robust against normal" in text
    assert not HIDDEN.findall(OWN.sub("", text))
    audited = folder / "audited"
    paths = [*(audited / "tables").glob("*.md"), *(audited / "tables").glob("*.tex")]
    assert len(paths) > 4
    for path in [*paths, audited / "index.html"]:
        assert not HIDDEN.findall(path.read_text(encoding="utf-8")), path
    assert r"\x1b]0;PWNED" in (audited / "index.html").read_text(encoding="utf-8")


def test_a_name_cannot_end_a_row_of_a_table() -> None:
    frame = pd.DataFrame({"model": ["a\rb\nc,\x1b[2J", "d"], "value": [1.0, 2.0]})
    columns = (Column("model", "Model", "name"), Column("value", "Value"))
    table = Table("t", "T", "N", frame, columns)
    assert list(csv.reader(io.StringIO(to_csv(table), newline=""))) == [
        ["model", "value"], ["a\rb\nc,\x1b[2J", "1.0"], ["d", "2.0"]
    ]  # fmt: skip
    assert "x1b\\[2J" in to_markdown(table)
    assert r"a\textbackslash{}rb\textbackslash{}nc,\textbackslash{}x1b{[}2J" in to_latex(table)


def test_a_name_cannot_forge_a_line_of_the_log(tmp_path: Path) -> None:
    kept = list(logging.getLogger().handlers), logging.getLogger().level, logging.raiseExceptions
    log = tmp_path / "log"
    try:
        set_up_logging(verbose=False, log_file=log)
        logging.getLogger("library").warning("read %s", "a\n2026-01-01 CRITICAL forged\x1b[2J")
        warnings.warn("a\n2026-01-01 CRITICAL forged", UserWarning, stacklevel=1)
        row = LedgerRow(model_id="a\n2026-01-01 CRITICAL forged", lens="filters", status="failed", traceback="one\ntwo")
        Display().hear(_ended(row))
    finally:
        logging.captureWarnings(capture=False)
        logging.basicConfig(handlers=kept[0], level=kept[1], force=True)
        logging.raiseExceptions = kept[2]
    written = log.read_text(encoding="utf-8")
    assert not re.search(r"^2026-01-01 CRITICAL", written, re.MULTILINE)
    assert r"forged\x1b[2J" in written
    assert r"a\n2026-01-01 CRITICAL forged, filters: failed" in written
    assert "\n    one\n    two\n" in written


def _ended(row: LedgerRow) -> Event:
    return Event(row.model_id, "", 1, 1, rows=(row,))
