"""Run folders that somebody sent: dumps, ledger, catalog, scores and links (issue 15.5, 15.7, 15.11)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from hostile.payload import RUN_WAYS, TOKEN, Case, Payload
from hostile.payloads.hdf5s import HARMS, damage, harmed

__all__ = ["payloads"]

TEXTS: dict[str, object] = {
    "escape": "\x1b]0;zq7x\x07\x1b[31m",
    "C1": "\x9b31mzq7x",
    "script": "<script>zq7x</script>",
    "image": '"><img src=x onerror=zq7x>',
    "end of style": "]]></style></title><svg onload=zq7x>",
    "link": "[x](javascript:zq7x)",
    "Jinja": "{{ 7*7 }}{% include '/etc/passwd' %}zq7x",
    "LaTeX": "\\input{/etc/passwd}\\write18{zq7x}",
    "formula": "=cmd|'/c zq7x'!A1",
    "mathtext": "$\\frac{zq7x}$",
    "mathtext deep": "$" + "{" * 500 + "}" * 500 + "$",
    "parent": "../../zq7x",
    "absolute": "/tmp/zq7x",
    "NUL": "zq7x\0x",
    "long": "zq7x" * 50_000,
    "rich": "[link=file:///etc/passwd]zq7x[/]",
    "override": "\u202ezq7x",
    "surrogate": "\ud800zq7x",
    "newline": "a\nb\r\nzq7x",
    "empty": "",
    "number": 7,
    "float": 1e308,
    "digits": 10**30,
    "none": None,
    "list": ["zq7x"],
    "deep": [[[[]]]],
    "object": {"zq7x": {}},
    "true": True,
    "infinite": float("inf"),
    "NaN": float("nan"),
}
_FIELDS = ("model_id", "lens", "status", "reason", "error_class", "seconds", "key", "notes", "versions", "started")
_COLUMNS = ("model_id", "source", "dataset", "threat_model", "architecture", "match", "match_rule", "paper")
_PARQUET = ("model_id", "lens", "metric", "layer", "kind", "conv_depth", "value", "weight", "note")
_PLACES = (".holder", ".lock", "ledger.jsonl", "tables", "figures", "dumps", "scores.parquet", "pooled.h5", "analysis.json", "index.html", "report.json", "catalog.csv", "tables/models.csv", "figures/x.png", "dumps/a.h5")  # fmt: skip
_LINKS = ("secret", "missing", "folder", "self", "device", "home")


def payloads() -> Iterator[Payload]:
    """Every file of a run, changed in every way that is known."""
    for name, (about, _) in HARMS.items():
        yield _payload(f"dump, {name}", about, lambda run, case, name=name: _harm_dump(run, name, case))
        yield _payload(f"pooled, {name}", about, lambda run, case, name=name: _harm_pool(run, name, case), ("report",))
    for name, about, change in damage(120, 1):
        yield _payload(f"dump, {name}", about, lambda run, case, change=change: _rewrite(run / "dumps/a.h5", change))
    for name, about, change in damage(24, 2):
        yield _payload(f"pooled, {name}", about, lambda run, case, change=change: _rewrite(run / "pooled.h5", change))
        yield _payload(
            f"scores, {name}", about, lambda run, case, change=change: _rewrite(run / "scores.parquet", change)
        )
    for field in _FIELDS:
        for name, value in TEXTS.items():
            yield _payload(f"ledger {field}, {name}", "issue 15.11: wrong types, markup", _ledger(field, value))
    for column in _COLUMNS:
        for name, value in TEXTS.items():
            if isinstance(value, str):
                yield _payload(f"catalog {column}, {name}", "issue 15.15: markup, paths", _catalog(column, value))
    for column in _PARQUET:
        for name, value in TEXTS.items():
            if not isinstance(value, list | dict):
                yield _payload(
                    f"scores {column}, {name}", "issue 15.11: wrong types, markup", _scores(column, value), ("report",)
                )
    for place in _PLACES:
        for link in _LINKS:
            yield _payload(f"link {place}, {link}", "issue 15.7: symbolic links", _link(place, link))
    for name, text in _JSON.items():
        for file in ("report.json", "analysis.json", "ledger.jsonl"):
            yield _payload(
                f"{file}, {name}",
                "issue 15.7, 15.11",
                lambda run, case, file=file, text=text: _write_json(run / file, text, case),
            )
    for name, source in _SOURCES.items():
        yield _payload(f"source, {name}", "issue 15.5: a catalog is code", _catalog("source", source))


_JSON = {
    "paths": '{"files": ["../../outside/secret.bin", "/etc/passwd", "{secret}", "tables/../../../outside/secret.bin"]}',
    "links": '{"files": ["tables/zq7x", "figures/zq7x", "tables", "figures/.."]}',
    "numbers": '{"files": [1, null, {}, []]}',
    "no list": '{"files": "tables/models.csv"}',
    "a list": "[1, 2]",
    "deep": "[" * 100_000,
    "digits": '{"a": ' + "9" * 10_000 + "}",
    "empty": "",
    "binary": "\x00\x80\xff",
    "surrogates": '{"a": "\\ud800"}',
    "escape": '{"a": "\\u001b]0;zq7x\\u0007"}',
    "large": '{"files": [' + ",".join(['"tables/a"'] * 100_000) + "]}",
    "long line": '{"model_id": "' + "x" * 2_000_000 + '"}',
    "NaN": '{"seconds": NaN, "model_id": "a", "lens": "filters"}',
}
_SOURCES = {
    "module": "module:zq7x_beside:make",
    "abort": "module:os:abort",
    "module with weights": "module:zq7x_beside:make?weights=dumps/a.h5",
    "subprocess": "module:subprocess:Popen",
    "hf": "hf:zq7x/zq7x",
    "url": "url:https://127.0.0.1:9/zq7x.pt",
    "filterdb": "filterdb:/etc/passwd#0",
}


def _payload(name: str, about: str, change: Callable[[Path, Case], None], ways: tuple[str, ...] = RUN_WAYS) -> Payload:
    def write(case: Case) -> None:
        run = Path(shutil.copytree(case.folder.parent / "good" / "run", case.folder / "run"))
        beside = f"open({str(case.marker)!r}, 'w').close()\ndef make(): pass\n"
        (run / "zq7x_beside.py").write_text(beside)
        change(run, case)

    return Payload("run", name, about, write, "run", ways, ("zq7x_beside", "antigravity"))


def _harm_dump(run: Path, name: str, case: Case) -> None:
    harmed(run / "dumps" / "a.h5", "filters/conv", name, case)


def _harm_pool(run: Path, name: str, case: Case) -> None:
    import h5py

    with h5py.File(run / "pooled.h5") as file:
        found: list[str] = []
        file.visititems(lambda key, item: found.append(key) if isinstance(item, h5py.Dataset) else None)
    if found:
        harmed(run / "pooled.h5", found[0], name, case)


def _rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _ledger(field: str, value: object) -> Callable[[Path, Case], None]:
    def change(run: Path, case: Case) -> None:
        row = json.loads((run / "ledger.jsonl").read_text().splitlines()[0])
        lines = [json.dumps({**row, field: value}), json.dumps({**row, "status": "failed", field: value})]
        with (run / "ledger.jsonl").open("a") as file:
            file.write("\n".join(lines) + "\n")

    return change


def _catalog(column: str, value: str) -> Callable[[Path, Case], None]:
    def change(run: Path, case: Case) -> None:
        import csv
        import io

        rows = list(csv.DictReader(io.StringIO((run / "catalog.csv").read_text())))
        rows[0][column] = value
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        (run / "catalog.csv").write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))

    return change


def _scores(column: str, value: object) -> Callable[[Path, Case], None]:
    def change(run: Path, case: Case) -> None:
        import pandas as pd

        table = pd.read_parquet(run / "scores.parquet")
        text = value if not isinstance(value, str) else value.encode("utf-8", "replace").decode()
        if isinstance(text, int) and not isinstance(text, bool):
            text = float(text)
        changed = [text] * 2 + list(table[column][2:])
        same = all(isinstance(v, str) for v in changed) or all(isinstance(v, float) for v in changed)
        table[column] = (
            changed if same else pd.Series([str(v) for v in changed] if isinstance(text, str) else [text] * len(table))  # type: ignore[assignment]
        )
        table.to_parquet(run / "scores.parquet", index=False)

    return change


def _link(place: str, link: str) -> Callable[[Path, Case], None]:
    def change(run: Path, case: Case) -> None:
        path = run / place
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        home = case.secret.parent.parent / "home"
        targets = {"secret": case.secret, "missing": case.secret.with_name(f"{TOKEN}-made"), "folder": case.secret.parent, "self": path, "device": Path("/dev/full"), "home": home / ".bashrc"}  # fmt: skip
        path.symlink_to(targets[link])

    return change


def _write_json(path: Path, text: str, case: Case) -> None:
    path.write_text(text.replace("{secret}", str(case.secret)), encoding="utf-8")
