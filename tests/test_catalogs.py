"""Reading catalogs: what is understood, and what is refused with file, line and column."""

from __future__ import annotations

import contextlib
import csv
import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from filterlens.catalogs import Entry, load_catalog, read_catalog
from filterlens.errors import CatalogError, FilterlensError
from filterlens.runs.folder import freeze_catalog

HEAD = "model_id,source"


def write(folder: Path, text: str | bytes, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_smallest_catalog_has_ids_and_sources(tmp_path: Path) -> None:
    catalog = load_catalog(write(tmp_path, f"{HEAD}\na,a.pt\n\nb, b.pt \n"))
    assert [(e.model_id, e.source) for e in catalog] == [("a", "a.pt"), ("b", "b.pt")]
    assert catalog.name == "mine"
    assert catalog.folder == tmp_path.resolve()
    assert catalog["b"].robust is None


def test_every_column_is_read(tmp_path: Path) -> None:
    head = "model_id,source,eps,robust,match,mean,std,clean_acc,robust_acc"
    row = 'r,r.pt,8/255,true,n,0.5 0.4 0.3,"0.2, 0.2, 0.2",90.5,\nn,n.pt,,false,,,,,'
    robust, normal = load_catalog(write(tmp_path, f"{head}\n{row}\n"))
    assert robust.eps == 8 / 255
    assert robust.mean == (0.5, 0.4, 0.3)
    assert robust.std == (0.2, 0.2, 0.2)
    assert robust.robust is True
    assert robust.clean_acc == 90.5
    assert robust.robust_acc is None
    assert normal.eps is None


def test_what_published_results_tell_is_read_and_kept_by_a_run(tmp_path: Path) -> None:
    head = f"{HEAD},match,differs,clean_acc,real_acc,v2_acc,a_acc,r_acc,sketch_acc,params_million,input_size,licence"
    rows = "a,a.pt,b,pre-training,80,85.5,70,1.5,40,30,25.56,224,MIT\nb,b.pt,,,,,,,,,,,\n"
    catalog = load_catalog(write(tmp_path, f"{head}\n{rows}"))
    a, b = catalog
    assert (a.differs, a.clean_acc, a.real_acc, a.v2_acc, a.a_acc) == ("pre-training", 80, 85.5, 70, 1.5)
    assert (a.r_acc, a.sketch_acc, a.params_million, a.input_size, a.licence) == (40, 30, 25.56, 224, "MIT")
    assert (b.real_acc, b.params_million, b.input_size, b.licence) == (None, None, None, "")
    assert (catalog.pairs(), catalog.twins()) == ((), (a,))
    freeze_catalog(catalog, tmp_path / "run")
    assert list(read_catalog(tmp_path / "run" / "catalog.csv")) == [a, b]


def test_a_cell_may_hold_a_comma_a_line_break_and_a_line_separator(tmp_path: Path) -> None:
    catalog = load_catalog(write(tmp_path, f'{HEAD},paper\na,x,"One, two\nthree\u2028four"\n'))
    assert catalog["a"].paper == "One, two\nthree\u2028four"


def test_robust_models_pair_with_their_normal_ones(tmp_path: Path) -> None:
    rows = "r1,x,true,n\nr2,x,true,n\nr3,x,true,\nn,x,false,\n?,x,,n\n"
    catalog = load_catalog(write(tmp_path, f"model_id,source,robust,match\n{rows}"))
    assert [(p.robust.model_id, p.normal.model_id) for p in catalog.pairs()] == [("r1", "n"), ("r2", "n")]
    assert [e.model_id for e in catalog.unmatched()] == ["r3"]


def test_selecting_a_robust_model_keeps_its_normal_partner(tmp_path: Path) -> None:
    catalog = load_catalog(write(tmp_path, "model_id,source,robust,match\nr1,x,true,n\nr2,x,true,m\nn,x,,\nm,x,,\n"))
    assert [e.model_id for e in catalog.select(["r1"])] == ["r1", "n"]
    with pytest.raises(CatalogError, match=r"--models 'x\*' matches no model of catalog mine"):
        catalog.select(["r1", "x*"])


def test_a_byte_order_mark_and_windows_line_ends_are_understood(tmp_path: Path) -> None:
    assert len(load_catalog(write(tmp_path, f"\ufeff{HEAD}\r\na,a.pt\r\n"))) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: column 'model_id' is missing"),
        ("model_id\na\n", "line 1: column 'source' is missing"),
        (f"{HEAD},colour\na,b,c\n", "line 1: unknown column 'colour'; a catalog has model_id, source"),
        (f"{HEAD},eps,eps\na,b,,\n", "line 1: a column is named twice"),
        (f"{HEAD}\n", "lists no models"),
        (f"{HEAD},a_acc\na,b,101\n", "line 2, column a_acc: a number of at most 100.0 was expected, got '101'"),
        (f"{HEAD},input_size\na,b,0\n", "line 2, column input_size: a number above 0 was expected, got '0'"),
        (f"{HEAD},params_million\na,b,few\n", "line 2, column params_million: a number was expected, got 'few'"),
        (f"{HEAD}\na\n", "line 2: 1 cells where the header has 2 columns"),
        (f"{HEAD}\na,b,c\n", "line 2: 3 cells where the header has 2 columns"),
        (f"{HEAD}\na,\n", "line 2, column source: at least 1 character was expected, got ''"),
        (f"{HEAD}\n\n,x\n", "line 3, column model_id: at least 1 character was expected, got ''"),
        (f"{HEAD}\na,x\nb,x\na,y\n", "line 4, column model_id: 'a' is already on line 2"),
        (f"{HEAD}\nA,x\na,y\n", "line 3, column model_id: 'a' and 'A' would share a file name"),
        (f"{HEAD}\n../a,x\n", "line 2, column model_id: it must not point out of its folder"),
        (f"{HEAD}\nb/../../a,x\n", "line 2, column model_id: it must not point out of its folder"),
        (f"{HEAD}\n..,x\n", "line 2, column model_id: it must not point out of its folder"),
        (f"{HEAD}\na\0b,x\n", "line 2: it holds a NUL character"),
        (f"{HEAD},eps\na,x,much\n", r"line 2, column eps: a number such as 8/255 or 0\.5 was expected, got 'much'"),
        (f"{HEAD},eps\na,x,1/0\n", "line 2, column eps: a number such as 8/255"),
        (f"{HEAD},eps\na,x,-1\n", r"line 2, column eps: a number above 0\.0 was expected, got -1\.0"),
        (f"{HEAD},eps\na,x,nan\n", "line 2, column eps"),
        (f"{HEAD},eps\na,x,1e999999999\n", "line 2, column eps"),
        (f"{HEAD},robust\na,x,perhaps\n", "line 2, column robust: true or false was expected, got 'perhaps'"),
        (
            f"{HEAD},clean_acc\na,x,101\n",
            r"line 2, column clean_acc: a number of at most 100\.0 was expected, got '101'",
        ),
        (f"{HEAD},match\na,x,b\n", "line 2, column match: no row has the model_id 'b'"),
        (f"{HEAD},mean\na,x,0.5\n", "line 2, columns mean and std go together"),
        (f"{HEAD},mean,std\na,x,0.5 0.5,1 1\n", "line 2, column std: one value a channel"),
        (f"{HEAD},mean,std\na,x,0.5,0\n", "line 2, column std: a standard deviation is positive"),
        (f"{HEAD},mean,std\na,x,0.5,nan\n", "line 2, columns mean and std are finite"),
        (f"{HEAD},mean,std\na,x,inf,1\n", "line 2, columns mean and std are finite"),
        (f"{HEAD},mean,std\na,x,125.3,63\n", r"line 2, column mean: images lie in \[0, 1\], .*got 125\.3: divide"),
        (f"{HEAD},mean,std\na,x,-0.1,1\n", r"line 2, column mean: .*got -0\.1"),
        (f"{HEAD},mean,std\na,x,0.5 0.5 0.5,0.2 63 0.2\n", r"line 2, column std: images .*got 0\.2 63 0\.2"),
        (f"{HEAD},eps\na,x,8\n", r"line 2, column eps: images lie in \[0, 1\], .*got 8: write 8/255"),
        (f"{HEAD},eps,threat_model\nb,x,1,Linf\na,x,8,linf\n", r"line 3, column eps: .*got 8"),
        (f"{HEAD},eps,threat_model\na,x,12,L1\n", r"line 2, column eps: .*got 12: .* or the threat_model L2"),
        (f"{HEAD},match\nb,x,\na,x,a\n", "line 3, column match: 'a' is matched to itself"),
        (
            f"{HEAD},robust,match\na,x,true,b\nb,x,true,\n",
            r"line 2, column match: 'b' \(line 3\) is robust itself; name the normal model",
        ),
        (f"{HEAD},robust\na,x,robust\n", "line 2, column robust: true or false was expected, got 'robust'"),
        (
            f"{HEAD},mean,std\na,x,red,1\n",
            "line 2, column mean: one number a channel, separated by blanks, was expected, got 'red'",
        ),
        (f'{HEAD}\na,"x\n', "not valid CSV"),
        (f"{HEAD}\n{'a' * 301},x\n", "line 2, column model_id: at most 300 characters were expected, got 'aaa"),
        (b"model_id,source\n\xff\xfe,x\n", r"is not UTF-8 text \(byte 16\): save it as UTF-8"),
        (f"{HEAD}\na,x\n".encode("utf-16"), "is not UTF-8 text"),
        (f"{HEAD}\na,x\n".encode("utf-16-le"), "line 1: it holds a NUL character"),
        (f"{HEAD}\na\x1b[2J,x\n", r"line 2, column model_id: printable characters were expected, got 'a\\x1b"),
        (f"{HEAD}\na\u202eb,x\n", r"line 2, column model_id: printable characters were expected, got 'a\\u202eb'"),
        (f"{HEAD}\n\u00e9,x\ne\u0301,y\n", "line 3, column model_id: .* would share a file name"),
        (f"{HEAD}\nCaf\u00e9,x\nCAFE\u0301,y\n", "line 3, column model_id: .* would share a file name"),
        (f'{HEAD}\n"{"a" * 200_000}",x\n', r"line 2: not valid CSV \(field larger than field limit"),
        (f"{HEAD},paper\na,x,{'p' * 5000}\n", "line 2, column paper: at most 4096 characters were expected, got 'ppp"),
        (f"{HEAD},robust=robust\na,x,\n", "line 1: unknown column 'robust=robust'"),
        (
            f"{HEAD},robust\na,x,robust=robust\n",
            "line 2, column robust: true or false was expected, got 'robust=robust'",
        ),
        (f"{HEAD},clean_acc\na,x,nan\n", "line 2, column clean_acc: a finite number was expected, got 'nan'"),
        (f"{HEAD},clean_acc\na,x,high\n", "line 2, column clean_acc: a number was expected, got 'high'"),
        (f"{HEAD},epoch\na,x,1.5\n", "line 2, column epoch: a whole number was expected, got '1.5'"),
        (f"{HEAD},epoch\na,x,{'9' * 5000}\n", "line 2, column epoch: a whole number was expected, got '999"),
        (f"{HEAD},epoch\na,x,{10**30}\n", "line 2, column epoch: a number of at most 9007199254740992 was expected"),
    ],
)
def test_a_wrong_catalog_is_refused_where_it_is_wrong(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        read_catalog(write(tmp_path, text))


def test_what_is_just_within_its_range_is_read(tmp_path: Path) -> None:
    head = "model_id,source,eps,threat_model,robust,match,mean,std"
    rows = "a,x,1,Linf,true,b,0 0 0,1 1 1\nb,x,8,L2,false,,1,0.00392\nc,x,0.5,L1,true,d,,\nd,x,,,,,,\n"
    a, b, c, _ = load_catalog(write(tmp_path, f"{head}\n{rows}"))
    assert (a.eps, a.mean, a.std, b.eps, b.std, c.eps) == (1, (0, 0, 0), (1, 1, 1), 8, (0.00392,), 0.5)
    assert len(load_catalog(tmp_path / "mine.csv").pairs()) == 2


@pytest.mark.parametrize("name", ["nothing-of-that-name", "a\0b", "..", "", "x" * 5000])
def test_a_catalog_that_is_not_there_is_refused_with_the_names_of_those_that_are(name: str) -> None:
    with pytest.raises(CatalogError, match=r"there is no catalog .* one of .*cifar10-linf"):
        load_catalog(name)


@pytest.mark.parametrize(
    ("head", "row"),
    [
        (f"{HEAD}\r", "\r"),
        (f"{HEAD}\n", '"'),
        (f"{HEAD}\n", ","),
        ("", "model_id,"),
        (f"{HEAD}\n", '"\n'),
        (f"{HEAD},eps\n", "a,x,much\n"),
    ],
    ids=["empty-lines", "quotes", "commas", "columns", "quoted-lines", "wrong-rows"],
)
def test_a_file_that_is_none_is_refused_in_proportion_to_its_size(tmp_path: Path, head: str, row: str) -> None:
    path = write(tmp_path, head + row * (3_000_000 // len(row)))
    begun = time.process_time()
    with pytest.raises(CatalogError, match=r"mine\.csv") as caught:
        read_catalog(path)
    assert time.process_time() - begun < 10
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "name", ["con", "NUL", "aux.pt", "Com1", "LPT9.x", "COM¹", "a.", "-rf", ".hidden", "a/b", "a\\b", "é" * 200]
)
def test_an_id_that_is_no_file_name_everywhere_gets_one(name: str) -> None:
    stem = Entry(model_id=name, source="x").file_stem
    assert re.fullmatch(r"[^/\\]+-[0-9a-f]{10}", stem)
    assert not stem.startswith((".", "-"))
    assert len(stem.encode()) <= 130
    assert stem.partition(".")[0].partition("-")[0].casefold() not in {"con", "nul", "aux", "com1", "lpt9", "com¹"}


def test_an_entry_is_refused_in_our_words_wherever_it_is_made() -> None:
    import filterlens

    for values, message in (
        ({"model_id": "a\0b", "source": "x"}, r"column model_id: printable characters were expected, got 'a\\x00b'"),
        ({"model_id": "../x", "source": "x"}, "column model_id: it must not point out of its folder"),
        ({"model_id": "a"}, "column source: it is missing"),
        ({"model_id": "a", "source": 3}, "column source: text was expected, got 3"),
        ({"model_id": "a", "source": "x", "colour": 1}, "column colour: no value of that name is taken, got 1"),
        ({"model_id": "a", "source": "x", "mean": (1.0,)}, "columns mean and std go together"),
        ({"model_id": "a", "source": "x", "eps": [[[[[[[1] * 99]]]]]]}, "column eps: a number was expected, got "),
    ):
        with pytest.raises(CatalogError, match=message) as caught:
            Entry(**values)
        assert len(str(caught.value)) < 300
        assert "pydantic" not in str(caught.value)
    with pytest.raises(FilterlensError, match="column model_id"):
        filterlens.load_model("hf:org/\x1b[2J")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=300))
@example("-")
def test_every_id_that_is_accepted_makes_a_safe_file_name(model_id: str) -> None:
    try:
        stem = Entry(model_id=model_id, source="x").file_stem
    except CatalogError:
        return
    assert Path(stem).name == stem
    assert "\0" not in stem
    assert not stem.startswith((".", "-"))
    assert 0 < len(stem.encode()) <= 130


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20), st.text(max_size=8)), max_size=5))
def test_any_rows_are_read_or_refused_with_an_error_of_ours(tmp_path: Path, rows: list[tuple[str, str, str]]) -> None:
    path = tmp_path / "fuzz.csv"
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        csv.writer(file).writerows([("model_id", "source", "eps"), *rows])
    with contextlib.suppress(FilterlensError):
        read_catalog(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_read_or_refused_with_an_error_of_ours(tmp_path: Path, content: bytes, headed: bool) -> None:
    path = write(tmp_path, (b"model_id,source,robust,match,mean,std\n" if headed else b"") + content, "fuzz.csv")
    with contextlib.suppress(FilterlensError):
        read_catalog(path)


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_spreadsheets_other_separators_are_named(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"model_id{mark}source\na{mark}a.pt\n", encoding="utf-8")
    with pytest.raises(CatalogError, match=r"line 1: cells are separated by .*: save it with commas"):
        load_catalog(path)
