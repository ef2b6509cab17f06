"""Reading catalogs of any size: the same as one row at a time, in little memory, and refused in time."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from filterlens.catalogs import Catalog, Entry, read_catalog, reading, rows
from filterlens.errors import CatalogError

HEAD = "model_id,source"
IDS = [
    "a",
    "A",
    " a",
    "b",
    "B",
    "c/d",
    "c_d",
    "é",
    "e\u0301",
    "É",
    "con",
    "..",
    "",
    "\x1c",
    "a\nb",
    "straße",
    "STRASSE",
]
CELLS = {
    "model_id": IDS,
    "source": ["x", " x ", "zoo.safetensors#x", ""],
    "match": ["", "", "a", "b", " a", "É", "no"],
    "robust": ["", "true", "false", "true ", "often"],
    "eps": ["", "8/255", "much"],
    "paper": ["", "One, two\r\nthree", '"', "\u2028"],
}


def plain(path: Path) -> list[Entry]:
    """Read a catalog whole, with a dictionary for every question: the reference."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise CatalogError(f"{path}, line {line}: it holds a NUL character: save it as UTF-8 text")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines: dict[str, int] = {}
    stems: dict[str, str] = {}
    entries: dict[str, Entry] = {}
    try:
        header = [column.strip() for column in next(reader)]
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if not "".join(row).strip():
                continue
            if len(row) != len(header):
                raise CatalogError(f"{where}: {len(row)} cells where the header has {len(header)} columns")
            try:
                entry = Entry.model_validate(dict(zip(header, row, strict=True)))
            except CatalogError as error:
                raise CatalogError(f"{where}, {error}") from None
            name = entry.model_id
            if name in entries:
                raise CatalogError(f"{where}, column model_id: {name!r} is already on line {lines[name]}")
            stem = unicodedata.normalize("NFC", unicodedata.normalize("NFC", entry.file_stem).casefold())
            if stem in stems:
                raise CatalogError(f"{where}, column model_id: {name!r} and {stems[stem]!r} would share a file name")
            entries[name], lines[name], stems[stem] = entry, reader.line_num, name
    except csv.Error as error:
        raise CatalogError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from None
    if not entries:
        raise CatalogError(f"{path} lists no models")
    for name, entry in entries.items():
        where = f"{path}, line {lines[name]}, column match: "
        if entry.match and entry.match not in entries:
            raise CatalogError(f"{where}no row has the model_id {entry.match!r}; add it or leave match empty")
        if entry.match and entries[entry.match].robust:
            raise CatalogError(
                f"{where}{entry.match!r} (line {lines[entry.match]}) is robust itself; name the normal model or leave "
                "match empty"
            )
    return list(entries.values())


def outcome(read: object, path: Path) -> list[Entry] | str:
    try:
        return list(read(path))  # type: ignore[operator]
    except CatalogError as error:
        return str(error)


def write(folder: Path, content: bytes | str) -> Path:
    path = folder / "mine.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Draw a catalog's bytes: mostly well-formed rows of few ids, with any one thing wrong."""
    columns = draw(st.permutations(["model_id", "source", *draw(st.sets(st.sampled_from(sorted(CELLS)[1:4])))]))
    columns = list(dict.fromkeys(columns))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"])))
    writer.writerow(columns)
    distinct = draw(st.booleans())
    for number in range(draw(st.integers(0, 12))):
        row = [draw(st.sampled_from(CELLS[column])) for column in columns]
        if distinct:
            row[columns.index("model_id")] = f"m{number}"
        writer.writerow(draw(st.sampled_from([row, row, row, row, row, [], row[1:]])))
    content = text.getvalue().encode()
    place = draw(st.integers(0, len(content)))
    return (
        draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
        + content[:place]
        + draw(st.sampled_from([b"", b"", b"", b'"', b"\n", b"\0", b"\xff", b"\xc3"]))
        + content[place:]
    )


def fitting(content: bytes) -> bool:
    """Whether the header is as it was made: the reference does not check it."""
    header = content.removeprefix(b"\xef\xbb\xbf").splitlines()[:1] or [b""]
    return {"model_id", "source"} <= set(header[0].decode("utf-8", "replace").split(",")) <= set(CELLS)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files().filter(fitting))
@example(b"model_id,source\na,x\nA,x\na,x\n")
@example(b"model_id,source\nb,x\na,x\na,x\nb,\n")
@example(b'source,model_id\n"x\ny",a\n\nx,a\n')
def test_a_file_is_read_or_refused_as_one_row_after_the_other_would_be(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content)
    assert outcome(read_catalog, path) == outcome(plain, path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files().filter(fitting))
def test_texts_of_equal_hashes_are_told_apart(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content)
    with pytest.MonkeyPatch.context() as patch:
        for module in (reading, rows):
            patch.setattr(module, "hash", len, raising=False)
        assert outcome(read_catalog, path) == outcome(plain, path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["", "true", "false"]), st.integers(0, 8)), min_size=1, max_size=9))
def test_entries_of_a_file_pair_and_are_chosen_as_entries_in_memory(
    tmp_path: Path, facts: list[tuple[str, int]]
) -> None:
    matches = [m if m < len(facts) and m != i and facts[m][0] != "true" else -1 for i, (_, m) in enumerate(facts)]
    cells = (
        f"m{i},x,{robust},{f'm{m}' if m >= 0 else ''}"
        for i, ((robust, _), m) in enumerate(zip(facts, matches, strict=True))
    )
    read = read_catalog(write(tmp_path, "\n".join([f"{HEAD},robust,match", *cells])))
    held = Catalog(read.name, tuple(read), read.folder)
    assert read == held
    assert (read.pairs(), read.twins(), read.unmatched()) == (held.pairs(), held.twins(), held.unmatched())
    for patterns in (["*"], ["m0"], ["m[0-3]", "m0"]):
        chosen = read.select(patterns)
        assert chosen == held.select(patterns)
        assert list(chosen.model_ids()) == [entry.model_id for entry in chosen]
        assert [chosen[name].model_id for name in chosen.model_ids()] == list(chosen.model_ids())


@pytest.mark.parametrize(("first", "again"), [(0, 999), (0, 1001), (1500, 1501), (10, 4999), (4998, 4999)])
@pytest.mark.parametrize("wrong", [None, 3000])
def test_what_is_wrong_first_is_said_first_in_a_file_of_thousands_of_rows(
    tmp_path: Path, first: int, again: int, wrong: int | None
) -> None:
    lines = [f"m{number},x" for number in range(5000)]
    lines[again] = lines[first]
    if wrong is not None:
        lines[wrong] = ",x"
    expected = f"line {again + 2}, column model_id: 'm{first}' is already on line {first + 2}"
    if wrong is not None and wrong < again:
        expected = f"line {wrong + 2}, column model_id: at least 1 character"
    with pytest.raises(CatalogError, match=expected):
        read_catalog(write(tmp_path, "\n".join([HEAD, *lines])))


@pytest.mark.parametrize("block", [1, 2, 3, 5, 64])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\xff,", b"\xe2\x82", b"\xe2\x28", b"\0", b"fine"])
def test_bytes_that_are_no_text_are_found_wherever_blocks_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, block: int, mark: bytes, end: bytes
) -> None:
    monkeypatch.setattr(reading, "_BLOCK", block)
    path = write(tmp_path, mark + f"{HEAD}\na,€x\n€€".encode() + end + (b"" if end == b"\xe2\x82" else b",x\n"))
    assert outcome(read_catalog, path) == outcome(plain, path)


def test_more_rows_than_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_MAX_ROWS", 100)
    lines = [f"m{number},x" for number in range(101)]
    assert len(read_catalog(write(tmp_path, "\n".join([HEAD, *lines[:100]])))) == 100
    with pytest.raises(CatalogError, match="has more than 100 rows: split it"):
        read_catalog(write(tmp_path, "\n".join([HEAD, *lines])))


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CatalogError, match="is larger than 4 GB: that is no catalog"):
        read_catalog(path)


@pytest.mark.parametrize("rest", ["," * 2000, '"\n",' * 500, "a" * 2000])
def test_a_row_without_end_is_refused_before_it_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: str
) -> None:
    monkeypatch.setattr(reading, "_MAX_ROW", 1000)
    assert len(read_catalog(write(tmp_path, f"{HEAD}\n" + "".join(f"m{n},x\n" for n in range(1000))))) == 1000
    with pytest.raises(CatalogError, match="has a row of more than 1000 characters: that is no catalog"):
        read_catalog(write(tmp_path, f"{HEAD}\na,x\n{rest}"))


PROGRAM = """
import re, sys, time
from pathlib import Path
from filterlens.catalogs import read_catalog
catalog = read_catalog(Path(sys.argv[1]))
assert len(catalog) == 1_000_000
assert catalog["net999999"].match == "net999998"
assert len(catalog.select(["net99999?"])) == 10
assert sum(1 for _ in catalog.select(["*"]).model_ids()) == 1_000_000
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())  # ru_maxrss is at least the parent's
print(time.process_time(), peak[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak")
def test_a_million_rows_take_little_memory(tmp_path: Path) -> None:
    lines = (
        f"net{n},zoo-{n // 1000}.safetensors#net{n},{n % 50}," + (f"true,net{n - 1}" if n % 2 else ",")
        for n in range(1_000_000)
    )
    path = write(tmp_path, "\n".join([f"{HEAD},epoch,robust,match", *lines]))
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], check=True, capture_output=True, text=True
    ).stdout.split()
    assert float(told[0]) < 90  # seconds of a processor
    assert int(told[1]) < 50_000 + 4 * path.stat().st_size / 1000 + 100_000  # kB
