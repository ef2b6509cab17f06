"""`make paper`: figures and tables of a run on pages of a journal's measures."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from scripts import load_script


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:there is no pdflatex")
def test_four_figures_and_two_tables_come_at_their_printed_size(
    make_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(8, pictures=True)
    monkeypatch.setattr(sys, "argv", ["paper.py", str(folder), "--style", "icml", "--out", str(tmp_path / "paper")])
    load_script("tools/paper.py").main()
    pdf = (tmp_path / "paper" / "paper.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    text = (tmp_path / "paper" / "paper.tex").read_text(encoding="utf-8")
    assert text.count(r"\includegraphics{") == 4
    assert text.count(r"\input{") == 2
    assert r"\includegraphics[" not in text
    assert r"\resizebox" not in text
    if shutil.which("pdflatex") is None:
        widths = [float(one) / 72 for one in re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ", pdf)]
        assert widths == pytest.approx([6.75] * 4)
