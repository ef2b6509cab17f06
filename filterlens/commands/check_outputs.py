"""What a check says to a build server: SARIF for its alerts, Markdown for the summary of its job."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from filterlens.commands.bounds import BoundCheck
from filterlens.commands.check import CheckError, CheckResult
from filterlens.lens import all_scores
from filterlens.process.files import is_file
from filterlens.process.markup import markdown_code, markdown_text
from filterlens.process.printable import printable, printable_json
from filterlens.version import __version__

__all__ = ["as_sarif", "as_summary"]

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_RULES: Final = {
    "weights": "Every layer's weights are finite, and none all zero or all equal.",
    "error": "The checkpoint can be read and checked.",
}
_SHOWN: Final = 50  # failures of a summary


def as_sarif(results: Sequence[CheckResult]) -> str:
    """Write what does not pass as SARIF 2.1.0, one result each, at the checkpoint's file.

    Parameters
    ----------
    results
        As `filterlens.check` returns them, of one or several checkpoints.

    Returns
    -------
        JSON. The rule of a result is its score, `weights` or `error`; its level is `error`. Paths are relative to the
        working directory where the file is below it.
    """
    failed = [result for result in results if not result.passed]
    rules = list(dict.fromkeys(_rule(result) for result in failed))
    errors = [result for result in failed if isinstance(result, CheckError)]
    invocation = {
        "executionSuccessful": not errors,
        "toolExecutionNotifications": [{"level": "error", "message": {"text": printable(e.text)}} for e in errors],
    }
    driver = {"name": "filterlens", "version": __version__, "rules": [_describe(rule) for rule in rules]}
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "results": [_result(result, rules) for result in failed],
    }
    return printable_json(json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1)) + "\n"


def _rule(result: CheckResult) -> str:
    return result.metric if isinstance(result, BoundCheck) else result.name


def _describe(rule: str) -> dict[str, Any]:
    score = all_scores().get(rule)
    text = score.summary if score else _RULES.get(rule, rule)
    found: dict[str, Any] = {"id": rule, "shortDescription": {"text": printable(text)}}
    if score and score.pitfalls:
        found["help"] = {"text": printable(score.pitfalls)}
    return found | {"defaultConfiguration": {"level": "error"}}


def _result(result: CheckResult, rules: Sequence[str]) -> dict[str, Any]:
    rule = _rule(result)
    layer = getattr(result, "layer", "")
    location: dict[str, Any] = {}
    if uri := _uri(result.model):
        location["physicalLocation"] = {"artifactLocation": {"uri": uri}, "region": {"startLine": 1}}
    if name := printable(layer or result.model):
        location["logicalLocations"] = [{"name": name, "kind": "member" if layer else "module"}]
    identity = "\0".join((result.model, rule, result.name, layer))
    found = {
        "ruleId": rule,
        "ruleIndex": rules.index(rule),
        "level": "error",
        "message": {"text": printable(_said(result))},
        "partialFingerprints": {"filterlensCheck/v1": sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()},
    }
    return found | ({"locations": [location]} if location else {})


def _said(result: CheckResult) -> str:
    return f"{result.model}: {result.text}" if result.model and not isinstance(result, CheckError) else result.text


def _uri(model: str) -> str:
    """Return the address of a checkpoint's file, relative where it is below the working directory; else nothing."""
    if not model or not is_file(path := Path(model).absolute()):
        return ""
    below = path.is_relative_to(here := Path.cwd())
    text = path.relative_to(here).as_posix() if below else path.as_posix()
    return f"{'' if below else 'file://'}{quote(text.encode('utf-8', 'surrogateescape'))}"


def as_summary(results: Sequence[CheckResult]) -> str:
    """Write results as Markdown, for the summary of a job: what fails first, checkpoint by checkpoint.

    Parameters
    ----------
    results
        As `filterlens.check` returns them, of one or several checkpoints.

    Returns
    -------
        Markdown; names of models and layers are text in it, whatever they are.
    """
    failed = sum(not result.passed for result in results)
    head = f"{failed} of {len(results)} checks failed" if failed else f"all {len(results)} checks passed"
    lines = [f"## {'❌' if failed else '✅'} filterlens check: {head}", ""]
    for model in dict.fromkeys(result.model for result in results):
        own = [result for result in results if result.model == model]
        lines += _of_model(model, own)
    return "\n".join(lines)


def _of_model(model: str, results: Sequence[CheckResult]) -> list[str]:
    wrong = [result for result in results if not result.passed]
    lines = [f"### {'❌' if wrong else '✅'} {markdown_code(model) if model else 'checkpoint'}", ""]
    said = [markdown_text(result.text) for result in wrong if not isinstance(result, BoundCheck)]
    lines += [*(f"- {text}" for text in said[:_SHOWN]), ""] if said else []
    bounds = [result for result in results if isinstance(result, BoundCheck) and not (result.passed and result.layer)]
    bounds.sort(key=lambda result: result.passed)
    if bounds:
        lines += ["| | score | layer | value | wanted |", "|---|---|---|---:|---:|"]
        lines += [_row(result) for result in bounds[:_SHOWN]]
        lines.append("")
    more = len(said[_SHOWN:]) + len(bounds[_SHOWN:])
    layers = sum(isinstance(result, BoundCheck) and result.passed and bool(result.layer) for result in results)
    lines += [f"… and {more} more rows.", ""] if more else []
    lines += [f"{layers} bounds on single layers passed.", ""] if layers else []
    notes = dict.fromkeys(result.note for result in bounds if result.note)
    return lines + [line for note in notes for line in (f"Caution: {markdown_text(note)}.", "")]


def _row(result: BoundCheck) -> str:
    value = "none" if math.isnan(result.value) else f"{result.value:.6g}"
    sign = "≤" if result.side == "max" else "≥"
    baseline = " (baseline)" if result.name.startswith("against-") else ""
    layer = markdown_code(result.layer) if result.layer else "mean"
    mark = "✅" if result.passed else "❌"
    return f"| {mark} | {markdown_text(result.metric)} | {layer} | {value} | {sign} {result.bound:.6g}{baseline} |"
