"""Score tables of others are read whole in a process that can be ended, before this one reads them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from filterlens.errors import ReportError
from filterlens.process.isolated import IsolatedCheck
from filterlens.score import as_table, read_scores, write_scores


def table() -> pd.DataFrame:
    rows = [
        {
            "model_id": f"m{i % 3}",
            "lens": "filters",
            "metric": "sparsity",
            "layer": f"c{i}",
            "value": i / 7,
            "weight": 1.0,
        }
        for i in range(50)
    ]
    return as_table(rows)


def sent(folder: Path) -> Path:
    """A table that this process did not write."""
    write_scores(table(), folder / "own.parquet")
    path = folder / "scores.parquet"
    path.write_bytes((folder / "own.parquet").read_bytes())
    return path


def with_unknown_codec(content: bytes) -> bytes:
    """Its footer names a compression that there is not: pyarrow ends the process where it looks at that column."""
    place = content.index(b"\x08model_id\x15\x02") + 10
    return content[:place] + b"\x42" + content[place + 1 :]


def test_a_table_that_was_sent_is_read_and_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sent(tmp_path)
    pd.testing.assert_frame_equal(read_scores(path), table(), check_exact=True)
    monkeypatch.setattr(IsolatedCheck, "_ask", lambda *_: "asked again")
    pd.testing.assert_frame_equal(read_scores(path), table(), check_exact=True)
    pd.testing.assert_frame_equal(read_scores(tmp_path / "own.parquet"), table(), check_exact=True)
    path.write_bytes(path.read_bytes())
    with pytest.raises(ReportError, match="asked again"):
        read_scores(path)


def test_a_table_on_which_pyarrow_aborts_is_refused_and_the_next_is_read(tmp_path: Path) -> None:
    path = sent(tmp_path)
    (tmp_path / "bad.parquet").write_bytes(with_unknown_codec(path.read_bytes()))
    code = (
        "import sys; from pathlib import Path; from filterlens.score import read_scores\n"
        "try:\n    read_scores(Path(sys.argv[1]))\n"
        "except Exception as error:\n    print(error)\n"
        "print(len(read_scores(Path(sys.argv[2]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "bad.parquet"), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said, rows = done.stdout.splitlines()
    assert "cannot be read as a score table (its structure is damaged: pyarrow crashes on it" in said
    assert int(rows) == 50


def test_any_changed_byte_of_the_footer_is_read_or_refused(tmp_path: Path) -> None:
    content = sent(tmp_path).read_bytes()
    rng = np.random.default_rng(0)
    path, refused = tmp_path / "changed.parquet", 0
    for place in rng.integers(len(content) - 1500, len(content), 60):
        changed = bytearray(content)
        changed[place] = rng.integers(256)
        path.write_bytes(changed)
        try:
            read_scores(path)
        except ReportError:
            refused += 1
    assert 5 < refused < 55


def test_what_pyarrow_says_of_a_damaged_page_is_told_without_the_names_of_its_exceptions(tmp_path: Path) -> None:
    content = sent(tmp_path).read_bytes()
    path = tmp_path / "changed.parquet"
    said: set[str] = set()
    for bit in range(8 * 4, 8 * 60):  # of the first page's header
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            read_scores(path)
        except ReportError as error:
            said.add(str(error))
    assert any("deserialize thrift" in text for text in said)
    assert not [text for text in said if "Exception" in text or "Error:" in text]
