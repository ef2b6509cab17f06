"""`module:` sources are code: they run where the user said so, from the one place that was meant, without a trace."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import filterlens
from filterlens.catalogs import Catalog, Entry, load_catalog
from filterlens.cli.app import app
from filterlens.commands.scoring import score_source
from filterlens.errors import CheckpointError, UnsafeCheckpointError
from filterlens.lens import RunSettings
from filterlens.loaders import load_model
from filterlens.loaders.module import build
from filterlens.runs import extract

NET = (
    "from torch import nn\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten())\n"
)


def write(folder: Path, text: str, name: str = "stranger_net.py") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """A catalog beside a module that writes `ran` when it is imported, with a healthy model in the next row."""
    write(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w').close()\n{NET}")
    torch.save({"conv.weight": torch.randn(4, 3, 3, 3)}, tmp_path / "good.pt")
    return write(tmp_path, "model_id,source\ncode,module:stranger_net:net\ngood,good.pt\n", "zoo.csv")


def test_a_row_of_a_catalog_runs_no_code_unless_it_is_allowed(marked: Path, tmp_path: Path) -> None:
    catalog = load_catalog(marked)
    outcome = extract(catalog, tmp_path / "run")
    (failed,) = [row for row in outcome.rows if row.status == "failed"]
    assert (failed.model_id, failed.error_class) == ("code", "UnsafeCheckpointError")
    assert failed.reason == (
        "the row 'code' is code that a catalog brings ('module:stranger_net:net'): read it, and pass --allow-code "
        "(Python: allow_code=True) if you trust it"
    )
    assert outcome.count("ok") == 1
    assert not (tmp_path / "ran").exists()
    allowed = extract(catalog, tmp_path / "run", settings=RunSettings(allow_code=True))
    assert allowed.count("ok") == 2
    assert (tmp_path / "ran").exists()


def test_the_front_door_asks_for_an_entry_and_not_for_the_user_s_own_word(
    marked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = load_catalog(marked)["code"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsafeCheckpointError, match=r"pass --allow-code \(Python: allow_code=True\)"):
        filterlens.load_model(entry)
    assert not (tmp_path / "ran").exists()
    assert filterlens.load_model(entry, allow_code=True).network is not None
    assert filterlens.load_model("module:stranger_net:net").network is not None
    assert score_source("module:stranger_net:net").scores["layer"].nunique() > 1


@pytest.mark.parametrize("folder", ["catalog", "run"])
def test_a_catalog_and_a_run_folder_that_were_sent_run_nothing_from_the_command_line(
    marked: Path, tmp_path: Path, folder: str
) -> None:
    catalog = marked
    if folder == "run":
        extract(load_catalog(marked), tmp_path / "sent")
        catalog = tmp_path / "sent" / "catalog.csv"
        write(tmp_path / "sent", (tmp_path / "stranger_net.py").read_text())
    (tmp_path / "ran").unlink(missing_ok=True)
    options = ["extract", "-l", str(catalog), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 1, done.output
    assert "the row 'code' is code that a catalog brings" in done.output
    assert not (tmp_path / "ran").exists()
    if folder == "catalog":
        allowed = CliRunner().invoke(app, [*options, "--allow-code"])
        assert allowed.exit_code == 0, allowed.output
        assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [(["inspect"], 1), (["compare", "good"], 1), (["check", "--bound", "max-sparsity=1"], 2)],
    ids=["inspect", "compare", "check"],
)
def test_a_catalogs_model_that_is_code_needs_the_option_of_every_command(
    marked: Path, tmp_path: Path, words: list[str], code: int
) -> None:
    others = [f"{marked}/{word}" if word == "good" else word for word in words[1:]]
    command = [words[0], *others, f"{marked}/code"]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == code
    assert "the row 'code' is code that a catalog brings" in f"{refused.output} {refused.exception}"
    assert not (tmp_path / "ran").exists()
    allowed = CliRunner().invoke(app, [*command, "--allow-code"])
    assert allowed.exit_code == 0, allowed.output
    assert (tmp_path / "ran").exists()


def test_an_architecture_that_was_typed_needs_no_option(tmp_path: Path) -> None:
    write(tmp_path / "exp", NET)
    torch.save(build("stranger_net:net", tmp_path / "exp").state_dict(), tmp_path / "exp" / "epoch-1.pt")
    options = ["--folder", str(tmp_path / "exp"), "--arch", "module:stranger_net:net", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["extract", *options])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "target",
    ["os:abort", "posix:abort", "builtins:exit", "sys:exit", "subprocess:Popen", "code:interact", "pty:spawn",
     "os.path:join", "antigravity:x", "this:s", "_posixsubprocess:fork_exec", "ctypes:CDLL", "webbrowser:open"],
)  # fmt: skip
def test_parts_of_python_are_never_called(target: str, tmp_path: Path) -> None:
    before = set(sys.modules)
    with pytest.raises(CheckpointError, match="is a part of Python: a module of yours was expected"):
        build(target, tmp_path)
    assert set(sys.modules) == before


@pytest.mark.parametrize("target", ["torch:load", "numpy:fromfile", "__main__:x", "torch.hub:download"])
def test_what_is_installed_and_makes_no_network_ends_with_one_line(target: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"was expected|could not be built|there is no module"):
        build(target, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from os import abort as net", "names a builtin_function_or_method of posix: a function or class that"),
        ("from shutil import rmtree as net", "names a function of shutil: a function or class that stranger_net"),
        ("from subprocess import Popen as net", "names a type of subprocess"),
        ("import functools, os\nnet = functools.partial(os.abort)", "names a partial of functools"),
        ("class Sly:\n    def __call__(self): pass\nnet = Sly()", "names a Sly of stranger_net"),
        ("net = 3", "names a int of nowhere"),
        ("def net(): return 3", "made a int: a torch.nn.Module was expected"),
        ("def net(x): return x", "could not be built: TypeError"),
        ("def net(): raise SystemExit(3)", "could not be built: SystemExit: 3"),
        ("raise SystemExit(3)", "could not be built: SystemExit: 3"),
        ("def net(): raise ValueError('a\\x1b[2J\\nb')", r"could not be built: ValueError: a\\x1b\[2J\\nb"),
        ("def net(): return net()", "could not be built: RecursionError"),
        ("def net(:", "could not be built: SyntaxError"),
        ("import nothing_of_that_name", "could not be built: ModuleNotFoundError"),
        ("", "could not be built: AttributeError"),
    ],
)  # fmt: skip
def test_a_factory_that_is_none_ends_with_one_line(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, text)
    with pytest.raises(CheckpointError, match=message) as caught:
        build("stranger_net:net", tmp_path)
    assert str(caught.value).isprintable()


def test_functions_classes_and_networks_of_the_package_are_taken(tmp_path: Path) -> None:
    write(tmp_path, NET, "stranger_pack/parts.py")
    write(tmp_path, "from stranger_pack.parts import net\n", "stranger_pack/__init__.py")
    write(tmp_path, f"{NET}ready = net()\nclass Net(nn.Conv2d):\n    def __init__(self): super().__init__(3, 4, 3)\n")
    for target in ("stranger_pack:net", "stranger_pack.parts:net", "stranger_net:ready", "stranger_net:Net"):
        assert isinstance(build(target, tmp_path), torch.nn.Module), target


@pytest.mark.parametrize("form", ["package", "file", "folder"])
@pytest.mark.parametrize("name", ["timm", "rich", "filterlens"])
def test_a_module_in_two_places_is_refused_and_neither_runs(tmp_path: Path, name: str, form: str) -> None:
    files = {"package": f"{name}/__init__.py", "file": f"{name}.py", "folder": f"{name}/inner.py"}
    path = write(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w').close()\n{NET}", files[form])
    loaded = sys.modules.get(name)
    with pytest.raises(CheckpointError, match=rf"module:{name} is in two places, {tmp_path}/{name}\S* and /\S+/{name}"):
        build(f"{name}:net", tmp_path)
    assert path.is_file()
    assert not (tmp_path / "ran").exists()
    assert sys.modules.get(name) is loaded


def test_a_file_beside_the_catalog_takes_no_library_s_place(tmp_path: Path) -> None:
    """`import json` in a network's module means Python's, whatever lies beside it; its own files are found."""
    write(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w').close()\n", "colorsys.py")
    write(tmp_path, "WIDTH = 5\n", "stranger_width.py")
    write(
        tmp_path,
        "import colorsys\nfrom stranger_width import WIDTH\nfrom torch import nn\n"
        "def net():\n    colorsys.rgb_to_hsv(0, 0, 0)\n    return nn.Conv2d(3, WIDTH, 3)\n",
    )
    assert build("stranger_net:net", tmp_path).out_channels == 5
    assert not (tmp_path / "ran").exists()


def test_path_and_modules_are_as_before_and_the_folder_too(tmp_path: Path) -> None:
    tamper = "import sys\nsys.path.insert(0, '/nowhere')\nsys.modules['json'] = None\ndel sys.modules['torch']\n"
    write(tmp_path, f"{NET}{tamper}")
    path, modules = list(sys.path), dict(sys.modules)
    for _ in range(2):
        build("stranger_net:net", tmp_path)
    write(tmp_path, "raise ValueError", "stranger_broken.py")
    with pytest.raises(CheckpointError, match="ValueError"):
        build("stranger_broken:net", tmp_path)
    assert sys.path == path
    assert {name: module for name, module in sys.modules.items() if name in modules} == modules
    assert not [name for name in sys.modules if name.startswith("stranger")]
    assert sorted(found.name for found in tmp_path.iterdir()) == ["stranger_broken.py", "stranger_net.py"]


def test_two_catalogs_may_have_modules_of_one_name(tmp_path: Path) -> None:
    for width in (3, 7):
        write(tmp_path / str(width), f"from torch import nn\ndef net(): return nn.Conv2d(3, {width}, 3)\n")
    for width in (3, 7, 3):
        assert build("stranger_net:net", tmp_path / str(width)).out_channels == width


def test_the_working_directory_is_not_searched_while_a_factory_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "here", f"open({str(tmp_path / 'ran')!r}, 'w').close()\n", "stranger_part.py")
    write(tmp_path / "zoo", f"import stranger_part\n{NET}")
    monkeypatch.chdir(tmp_path / "here")
    for entry in ("", str(tmp_path / "here")):
        monkeypatch.setattr(sys, "path", [entry, *sys.path])
        with pytest.raises(CheckpointError, match="No module named 'stranger_part'"):
            build("stranger_net:net", tmp_path / "zoo")
    assert not (tmp_path / "ran").exists()


def test_a_row_says_no_code_by_any_other_spelling(tmp_path: Path, marked: Path) -> None:
    for source in ("MODULE:stranger_net:net", "module :stranger_net:net", "file:module:stranger_net:net"):
        with pytest.raises(CheckpointError, match=r"there is no file|no loader answers|is no source"):
            load_model(Entry(model_id="x", source=source), tmp_path)
    assert not (tmp_path / "ran").exists()
    made = Catalog("own", (Entry(model_id="x", source=" module:stranger_net:net "),), tmp_path)
    assert extract(made, tmp_path / "run").count("failed") == 1
    assert not (tmp_path / "ran").exists()
