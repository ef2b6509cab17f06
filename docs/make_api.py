"""Write docs/api.md and docs/api/*.md from signatures and docstrings; a test holds them up to date.

Run: `python docs/make_api.py`. Plain Markdown, so that every viewer shows it: griffe reads the source, nothing is run.
"""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

import griffe

DOCS = Path(__file__).parent
logging.getLogger("griffe").setLevel(logging.ERROR)  # `Returns` without a type is how we write them


@dataclass(frozen=True)
class Page:
    """One page: its title, its first words, and the public names by the module that they are imported from."""

    title: str
    intro: str
    names: dict[str, tuple[str, ...]]


def _all_of(module: str) -> tuple[str, ...]:
    return tuple(import_module(module).__all__)


PAGES = {
    "audits": Page(
        "Audits",
        "Options of lenses are keyword arguments of `audit`, `extract` and `measure` under the command line's names "
        '(`kernel="5x5"`, `images=64`), or objects such as `filterlens.lenses.filters.options.FiltersOptions`, given '
        "by the lens's name.",
        {
            "filterlens": (*("audit", "extract", "analyze", "report", "estimate", "Estimate", "table", "RunSettings"),),
            "filterlens.runs": ("Outcome", "Event"),
            "filterlens.runs.config": ("RunConfig",),
            "filterlens.runs.executors": _all_of("filterlens.runs.executors"),
        },
    ),
    "models": Page(
        "Models, catalogs, images",
        "[Catalogs](../catalogs.md) says what a row holds, [images](../data.md) what `data` may be.",
        {
            "filterlens": (
                "load_catalog",
                "Catalog",
                "Entry",
                "catalogs",
                "catalogs_lock",
                "fetch",
                "load_model",
                "measure",
            ),
            "filterlens.inputs": ("load_images", "Images"),
            "filterlens.loaders.model": ("LoadedModel", "Classifier"),
        },
    ),
    "checkpoints": Page(
        "One checkpoint at a time",
        "What `filterlens inspect`, `compare`, `check` and `explain` return.",
        {
            "filterlens": (
                *("inspect", "Inspection", "compare", "check", "BoundCheck", "explain", "bibtex", "ls", "schema"),
                "selftest",
            ),
            "filterlens.commands.check": ("WeightCheck",),
        },
    ),
    "results": Page(
        "Results",
        "A finished run is read without torch: see [install](../install.md#without-torch).",
        {"filterlens": ("Run", "card", "Card", "Score", "import_filterdb", "export_filterdb")},
    ),
    "training": Page(
        "Training and studies",
        "[Watch a training](../monitors.md) and [training](../training.md) show these at work.",
        {
            "filterlens": ("train", "train_manifold", "train_zoo", "study_filters", "study_flatness", "study_manifold"),
            "filterlens.training": _all_of("filterlens.training"),
        },
    ),
    "functional": Page(
        "Arithmetic",
        "The scores' arithmetic as functions of weights, maps, logits, losses and distances: no model, no file, no "
        "state.",
        {"filterlens.functional": _all_of("filterlens.functional")},
    ),
    "extending": Page(
        "Extending",
        "[Add a lens, or a score](../add-a-lens.md) and [add a source](../add-a-source.md) show these at work.",
        {
            "filterlens": ("Lens", "Options", "score"),
            "filterlens.lens": ("option", "ExtractContext", "PoolContext", "PooledModel", "score_rows"),
            "filterlens.dumps": ("DumpGroup", "WritableGroup"),
            "filterlens.loaders": ("Request",),
            "filterlens.report.data": ("RunData",),
            "filterlens.report.figure": ("Figure", "Drawing"),
        },
    ),
    "errors": Page(
        "Errors",
        "[When something goes wrong](../errors.md) lists their messages.",
        {"filterlens.errors": _all_of("filterlens.errors")},
    ),
}


def api_pages() -> dict[str, str]:
    """Every page by its path within docs/."""
    package = griffe.load("filterlens", search_paths=[str(DOCS.parent)], docstring_parser="numpy")
    pages = {f"api/{key}.md": _page(page, package) for key, page in PAGES.items()}
    return {"api.md": _index(package), **pages}


def _index(package: Any) -> str:
    lines = [
        "# Python API\n",
        "Each command has a function of the same words that returns tables or objects and prints nothing. The names",
        "below are all that a script needs; everything else is an implementation detail that may move.\n",
        "```python",
        "import filterlens\n",
        "filterlens.measure(model)                               # a model in memory: one row a layer",
        'filterlens.audit("fonts-linf", "reports/mine", jobs=4)  # extract, analyse, report',
        'run = filterlens.Run("reports/mine")                    # its scores, pairs and figures',
        "```\n",
        "`import filterlens` loads neither torch nor matplotlib: names are imported when they are first used.\n",
    ]
    for key, page in PAGES.items():
        lines += [f"## {page.title}\n", "| name | what it is |", "|---|---|"]
        for module, name in _names(page):
            found = _find(package, module, name)
            shown = name if module == "filterlens" else f"{module.removeprefix('filterlens.')}.{name}"
            lines.append(f"| [`{shown}`](api/{key}.md#{_anchor(_title(found, module, name))}) | {_summary(found)} |")
        lines.append("")
    return _cited("\n".join(lines), "references.md")


def _names(page: Page) -> Iterator[tuple[str, str]]:
    return ((module, name) for module, names in page.names.items() for name in names)


def _find(package: Any, module: str, name: str) -> Any:
    """Return what griffe knows of a name, wherever it is defined."""
    home = getattr(getattr(import_module(module), name), "__module__", "")
    found = package[f"{home if home.startswith('filterlens') else module}.{name}".removeprefix("filterlens.")]
    return found.final_target if found.is_alias else found


def _title(found: Any, module: str, name: str) -> str:
    """Return a heading, which no other public name has."""
    taken = module not in {"filterlens", "filterlens.errors"} and name in _all_of("filterlens")
    shown = f"{module.rpartition('.')[2]}.{name}" if taken else name
    return f"class {shown}" if found.is_class else shown


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-").replace(".", "")


def _summary(found: Any) -> str:
    text = found.docstring.value if found.docstring else ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "∣")


def _page(page: Page, package: Any) -> str:
    lines = [f"# {page.title}\n", f"{page.intro}\n"]
    for module, name in _names(page):
        found = _find(package, module, name)
        lines += [f"## {_title(found, module, name)}\n", *_signature(found, f"{module}.{name}"), *_docstring(found)]
        for member in _members(found) if found.is_class else ():
            lines += [f"### {name}.{member.name}\n", *_signature(member, member.name), *_docstring(member)]
    return _cited("\n".join(lines).rstrip() + "\n", "../references.md")


def _members(found: Any) -> list[Any]:
    """Methods and properties that have something to say; fields are among the parameters."""
    return [
        member
        for name, member in found.members.items()
        if not name.startswith("_")
        and not member.is_alias
        and member.docstring
        and (member.is_function or "property" in member.labels)
    ]


def _signature(found: Any, name: str) -> list[str]:
    if found.is_attribute:  # a property, or another name for a type
        return [
            "```python",
            f"{name} = {found.value}" if found.value else f"{name}: {_shown(found.annotation)}",
            "```\n",
        ]
    if found.is_class and not _parameters(found) and found.bases:
        return ["```python", f"class {name}({', '.join(map(str, found.bases))})", "```\n"]
    if not found.is_class and not found.is_function:
        return []
    shown = [_parameter(one) for one in _parameters(found)]
    kinds = [str(one.kind.value) for one in _parameters(found)]
    if "keyword-only" in kinds and "variadic positional" not in kinds:
        shown.insert(kinds.index("keyword-only"), "*")
    returns = f" -> {found.returns}" if found.is_function and found.returns is not None else ""
    line = f"{name}({', '.join(shown)}){returns}"
    if len(line) > 100:
        line = "\n".join([f"{name}(", *(f"    {one}," for one in shown), f"){returns}"])
    return ["```python", line, "```\n"]


def _parameters(found: Any) -> list[Any]:
    if found.is_class and "BaseModel" in map(str, found.bases):  # pydantic's: its fields
        kind = griffe.ParameterKind.keyword_only
        fields = [one for one in found.members.values() if one.is_attribute and "property" not in one.labels]
        return [
            griffe.Parameter(one.name, annotation=one.annotation, kind=kind, default=one.value)
            for one in fields
            if one.annotation is not None and not one.name.startswith("_") and "ClassVar" not in str(one.annotation)
        ]
    return [one for one in getattr(found, "parameters", ()) if one.name not in {"self", "cls"}]


def _parameter(one: Any) -> str:
    stars = {"variadic positional": "*", "variadic keyword": "**"}.get(one.kind.value, "")
    annotation = f": {_shown(one.annotation)}" if one.annotation is not None else ""
    default = f" = {one.default}" if one.default is not None and not stars else ""
    return f"{stars}{one.name}{annotation}{default}"


def _docstring(found: Any) -> list[str]:
    sections = found.docstring.parsed if found.docstring else ()
    lines = [line for section in sections for line in _section(section, found)]
    if all(section.kind.value not in {"parameters", "attributes"} for section in sections):
        types = _types(found)
        lines[1:1] = ["**Parameters**\n", *types, ""] if types else []
    return lines


def _types(found: Any, *, without: Collection[str] = ()) -> list[str]:
    """Parameters that the docstring leaves to their names."""
    return [f"- `{one.name}`{_type(one)}" for one in _parameters(found) if one.name not in without]


def _section(section: Any, found: Any) -> list[str]:
    kind = section.kind.value
    if kind == "text":
        return [f"{section.value.strip()}\n"]
    if kind in {"parameters", "attributes"}:
        named = {name.lstrip("*") for one in section.value for name in one.name.split(", ")}
        return [f"**{kind.capitalize()}**\n", *_described(section.value, found), *_types(found, without=named), ""]
    if kind in {"returns", "yields"}:
        return [f"**{kind.capitalize()}**\n", *(f"{_joined(one)}\n" for one in section.value)]
    if kind == "raises":
        return ["**Raises**\n", *(f"- `{one.annotation}`: {_flowing(one.description)}" for one in section.value), ""]
    if kind == "examples":
        return ["**Examples**\n", *(line for one in section.value for line in _example(*one))]
    if kind == "admonition":
        return [f"**{section.title}**\n", f"{section.value.description.strip()}\n"]
    raise ValueError(f"{found.path}: no way to show the section {kind!r}")


class _Plain(ast.NodeTransformer):
    """Takes what `Annotated` adds to a type off it."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        inner = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else node.slice
        if getattr(node.value, "id", "") == "Annotated":
            return self.visit(inner)  # type: ignore[no-any-return]
        return self.generic_visit(node)  # type: ignore[return-value]


def _shown(annotation: Any) -> str:
    return ast.unparse(_Plain().visit(ast.parse(str(annotation), mode="eval")))


def _described(parameters: Iterable[Any], found: Any) -> Iterator[str]:
    """Parameters as a list; those that share a description share a line."""
    known = {one.name: one for one in _parameters(found)}
    for text, group in groupby(parameters, key=lambda one: one.description):
        names = [name.lstrip("*") for one in group for name in one.name.split(", ")]
        shown = ", ".join(f"`{name}`{_type(known.get(name))}" for name in names)
        yield f"- {shown}: {_flowing(text)}"


def _type(parameter: Any) -> str:
    if parameter is None or parameter.annotation is None:
        return ""
    is_given = parameter.default is None or parameter.kind.value.startswith("variadic")
    return f" (`{_shown(parameter.annotation)}`" + (")" if is_given else f", default `{parameter.default}`)")


def _joined(value: Any) -> str:
    """Text of a `Returns` section that names no type: griffe takes its first line for one."""
    return _flowing(f"{value.annotation or ''} {value.description}")


def _flowing(text: str) -> str:
    return " ".join(text.split())


def _cited(text: str, references: str) -> str:
    """Turn the docstrings' citations, `[Key]_`, into links."""
    return re.sub(r"\[(\w+)\]_", rf"[\1]({references})", text)


def _example(kind: Any, text: str) -> list[str]:
    return ["```python", text.strip(), "```\n"] if kind.value == "examples" else [f"{text.strip()}\n"]


if __name__ == "__main__":
    (DOCS / "api").mkdir(exist_ok=True)
    for page, text in api_pages().items():
        (DOCS / page).write_text(text, encoding="utf-8")
