"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import importlib
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

import pytest

import filterlens

PACKAGE = Path(filterlens.__file__).parent
ROOT = PACKAGE.parent


def _loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_importing_filterlens_loads_no_heavy_library() -> None:
    heavy = {"torch", "matplotlib", "timm", "robustbench", "pandas", "scipy", "h5py"}
    assert not heavy & _loaded_after("import filterlens")


def test_help_loads_no_torch() -> None:
    code = "from filterlens.cli.app import app\ntry: app(['--help'])\nexcept SystemExit: pass"
    assert not {"torch", "matplotlib", "timm", "robustbench", "pandas"} & _loaded_after(code)


def test_measuring_and_loading_local_files_import_no_robustbench() -> None:
    code = """
import tempfile, torch, filterlens
from pathlib import Path
from filterlens.catalogs import Entry
from filterlens.loaders import load_model
network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3))
filterlens.measure(network)
with tempfile.TemporaryDirectory() as folder:
    torch.save(network.state_dict(), f"{folder}/a.pt")
    load_model(Entry(model_id="a", source=f"file:{folder}/a.pt"), folder=Path(folder))
"""
    assert not {"robustbench", "timm", "torchvision"} & _loaded_after(code)


def test_the_driver_of_an_audit_loads_neither_torch_nor_scipys_statistics() -> None:
    """200 MB and seconds of its own: workers load torch, reports the statistics."""
    code = """
import filterlens.commands.plan, filterlens.report.cautions, filterlens.report.style
import filterlens.loaders.shards, filterlens.runs.executors, filterlens.lenses.filters.distribution
import sys
assert "scipy.stats" not in sys.modules
"""
    assert not {"torch", "numba"} & _loaded_after(code)


EXTRAS = {
    "filterlens/loaders/onnx.py": "onnx",
    "filterlens/loaders/onnx_convert.py": "onnx",
    "filterlens/loaders/onnx_file.py": "onnx",
    "filterlens/loaders/onnx_names.py": "onnx",
    "filterlens/loaders/onnx_tensors.py": "onnx",
    "filterlens/cli/pytest_plugin.py": "dev",
    "filterlens/commands/notebook.py": "polars",
    "filterlens/commands/trackers/mlflow.py": "trackers",
    "filterlens/commands/trackers/tensorboard.py": "trackers",
    "filterlens/commands/trackers/wandb.py": "trackers",
    "filterlens/runs/executors/cluster.py": "ray",
    "filterlens/training/logs.py": "lightning",
}
"""The files that need a library of an extra, and the extra."""


def _distributions(requirements: list[str]) -> set[str]:
    return {_normalised(re.split(r"[^\w-]", one)[0]) for one in requirements}


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _libraries_of(path: Path) -> set[str]:
    """Top-level modules of every import of a file, those in functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).split(".")[0])
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            found |= {str(arg.value).split(".")[0] for arg in node.args if isinstance(arg, ast.Constant)}
    return found - sys.stdlib_module_names - {"filterlens"}


def test_every_import_is_declared() -> None:
    """What a file imports, lazily too, is of a dependency; what is of an extra, in the files that need it alone."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    # what does without the extra `audit` is shown by tests/test_install.py
    always = _distributions([*project["dependencies"], *extras["audit"]])
    provided = {"mlflow": ["mlflow-skinny"], **packages_distributions()}  # `make test` installs it apart
    undeclared, used = [], set()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE.parent).as_posix()
        extra = _distributions(extras[EXTRAS[name]]) if name in EXTRAS else set()
        extra |= {"protobuf"} if "onnx" in extra else set()  # comes with onnx
        for module in _libraries_of(path):
            found = {_normalised(one) for one in provided.get(module, [module])}
            undeclared += [] if found & (always | extra) else [f"{name}: {module}"]
            used |= {name} if found & extra else set()
    assert not undeclared
    assert used == set(EXTRAS), "a file that needs no extra is listed"


def test_every_public_name_resolves_and_is_documented() -> None:
    for name in filterlens.__all__:
        assert getattr(filterlens, name).__doc__, name


def test_a_public_name_stays_what_it_is_when_the_room_of_its_name_is_imported() -> None:
    importlib.import_module("filterlens.report")
    importlib.import_module("filterlens.score")
    for name in filterlens.__all__:
        assert not isinstance(getattr(filterlens, name), ModuleType), name
    assert callable(filterlens.report)
    assert callable(filterlens.score)


def test_all_names_that_modules_export_exist() -> None:
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)} | {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom | ast.Import)
            for alias in node.names
        }
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            defined |= {target.id for target in targets if isinstance(target, ast.Name)}
        for node in tree.body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                exported = set(ast.literal_eval(node.value))
                lazy = {"__getattr__"} & defined
                assert exported <= defined or lazy, (path, exported - defined)


def test_no_file_has_grown_into_two() -> None:
    long = {str(path): n for path in PACKAGE.rglob("*.py") if (n := len(path.read_text("utf-8").splitlines())) > 600}
    assert not long


def test_functions_take_at_most_three_positional_parameters() -> None:
    for name in filterlens.__all__:
        found = getattr(filterlens, name)
        if callable(found) and not isinstance(found, type):
            import inspect

            parameters = inspect.signature(found).parameters.values()
            assert sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters) <= 3, name


def test_the_house_is_small() -> None:
    rooms = [path for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()]
    modules = [path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
    assert len(rooms) <= 20
    assert len(modules) <= 4


# imported where they are used: they cost a second or more, or are optional
HEAVY = {
    "PIL", "gdown", "huggingface_hub", "jinja2", "lightning", "matplotlib", "numpy", "pandas", "pyarrow",
    "pyautoattack",
    "ray", "rich", "safetensors", "scipy", "timm", "tomli_w", "torch", "torchvision",
}  # fmt: skip
# files of ours that load one of them, imported by functions of a file that does not
LATE = {
    "dumps.reading": {"dumps.rows"},
    "inputs": {"inputs.bundled", "inputs.cifar", "inputs.folder", "inputs.fonts", "inputs.imagenet", "inputs.npz"},
    "inputs.published": {"inputs.celeba", "inputs.idx"},
    "lenses.downsampling.scores": {"lenses.downsampling.aliasing"},
    "lenses.filters.layer": {"lenses.filters.gram", "lenses.filters.kernels", "lenses.filters.moments"},
    "lenses.filters.moments": {"lenses.filters.kernels"},
    "lenses.filters.pooling": {"lenses.filters"},
    "loaders.bundled": {"loaders.architectures"},
    "loaders.digest": {"loaders.shards"},
    "loaders.file": {"loaders.onnx", "loaders.safetensors"},
    "loaders.robustbench": {"loaders.timm"},
    "manifolds.learned": {"loaders.module"},
    "runs.jobs": {"inputs", "loaders", "loaders.examine", "runs.fitting", "tracing.normalisation"},
    "runs.shards": {"loaders.digest", "loaders.examine", "loaders.file", "loaders.shards", "loaders.weights"},
    "runs.undumped": {"loaders", "loaders.examine"},
}


def test_functions_import_heavy_libraries_and_what_is_listed_only() -> None:
    """But for the bodies of commands, which import what they run."""
    late: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        name = _module(path).removeprefix("filterlens.")
        if name.split(".")[0] in {"cli", "commands", "studies"}:
            continue
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for imported in _imported_in(function):
                    if imported.split(".")[0] == "filterlens":
                        late.setdefault(name, set()).add(imported.removeprefix("filterlens."))
                    else:
                        assert imported.split(".")[0] in HEAVY, f"{path.name} imports {imported} in {function.name}"
    assert late == LATE


def _imported_in(function: ast.AST) -> set[str]:
    nodes = list(ast.walk(function))
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return whole | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def test_no_circle_between_files() -> None:
    """Not of any length; imports in functions count, those for type checkers only do not."""
    names = {_module(path): path for path in PACKAGE.rglob("*.py")}
    graph = {name: _imports(name, path, set(names)) for name, path in names.items()}
    assert len(graph["filterlens.report.write"]) > 5, "a control: imports are found"
    assert not _circles(graph)


def test_a_circle_would_be_found() -> None:
    assert _circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert not _circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(name: str, path: Path, known: set[str]) -> set[str]:
    """Files of the package that a file imports; a name that a package re-exports counts as an import of the package."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {one if one in known else node.module for one in inner}
        todo += ast.iter_child_nodes(node)
    return (found & known) - {name}


def _circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Sets of files that import one another, directly or through others."""
    reached = {name: _reachable(graph, name) for name in graph}
    together = {tuple(sorted(m for m in reached[n] if n in reached[m])) for n in graph if n in reached[n]}
    return sorted(map(list, together))


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(graph[start])
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += graph.get(name, ())
    return seen


@pytest.mark.parametrize("folder", ["benchmarks", "docs", "tools"])
def test_no_script_is_named_like_a_library(folder: str) -> None:
    """A script's folder is where Python looks first: `coverage.py` there is what Numba would import."""
    elsewhere = [path for path in sys.path if Path(path or ".").resolve() not in {ROOT, ROOT / "tests", ROOT / folder}]
    names = [path.stem for path in (ROOT / folder).glob("*.py") if not path.stem.startswith("_")]
    assert names
    assert [name for name in names if PathFinder.find_spec(name, elsewhere) is not None] == []


# lines of code of each lens, figures apart: under 400, and of those that are longer no more than they have
MOST_LINES = {"filters": 1429, "flatness": 862, "robustness": 553}


def _lines_of_code(path: Path) -> int:
    """Lines with a token, docstrings and comments apart."""
    source = path.read_text(encoding="utf-8")
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                docstrings |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    layout = {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
    }  # fmt: skip
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in layout:
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings)


SOURCE = '''"""A module.

Of two lines."""

x = 1  # one
# nothing


def f():
    """Two."""
    return [
        x,
    ]
'''


def test_lines_of_code_are_counted_without_docstrings_and_comments(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SOURCE, encoding="utf-8")
    assert _lines_of_code(tmp_path / "a.py") == 5


def test_a_lens_is_small() -> None:
    lenses = [path for path in (PACKAGE / "lenses").iterdir() if (path / "__init__.py").is_file()]
    assert len(lenses) >= 9
    for lens in lenses:
        files = [path for path in lens.rglob("*.py") if "figure" not in path.relative_to(lens).as_posix()]
        lines = sum(map(_lines_of_code, files))
        most = MOST_LINES.get(lens.name, 399)
        assert lines <= most, (
            f"{lens.name} has {lines} lines of code, at most {most}: what is general has a room of its own"
        )
        assert most == 399 or lines > most - 20, f"{lens.name} has shrunk to {lines} lines: lower MOST_LINES to them"
