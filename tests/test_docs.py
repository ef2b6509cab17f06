"""Nothing that a user meets is undocumented, and generated pages are up to date."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import tomllib
from importlib import import_module
from itertools import chain
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import typer
from scripts import load_script

from filterlens import errors
from filterlens.catalogs import catalog_names, load_catalog
from filterlens.cli.app import app
from filterlens.commands.report import all_figures
from filterlens.lens import all_lenses, all_scores
from filterlens.loaders import schemes
from filterlens.runs.config import RunConfig

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY"))]
# options of other programs, which pages show with their commands
OTHERS = {
    "--largest-share",  # the third-party lens
    *("--ways", "--kinds", "--sample", "--table", "--length", "--chains"),  # `make hostile`, `make interruptions`
    *("--rm", "--gpus", "--shm-size", "--user", "--build-arg"),  # docker
    *("--nodes", "--ntasks", "--ntasks-per-node", "--cpus-per-task", "--gpus-per-task", "--exclude"),  # slurm
    *("--head", "--port", "--block", "--address"),  # ray
    *("--install-completion", "--show-completion"),  # typer
    *("--torch-backend", "--no-deps", "--recipe"),  # uv, pip, rattler-build
    *("--chromium", "--axe", "--runs"),  # tools/screenshots.py
}


MADE = {
    "cli.md": "cli_reference",
    "scores.md": "score_reference",
    "references.md": "references",
    "../CITATION.cff": "citation",
}


@pytest.mark.parametrize(("page", "make"), MADE.items())
def test_the_generated_pages_are_up_to_date(page: str, make: str) -> None:
    written = (DOCS / page).read_text(encoding="utf-8")
    assert written == getattr(load_script("docs/make_reference.py"), make)(), "run `python docs/make_reference.py`"


def test_every_command_has_help_with_an_example_and_every_option_says_what_it_does() -> None:
    commands: list[tuple[str, Any]] = list(typer.main.get_group(app).commands.items())
    while commands:
        name, command = commands.pop()
        if hasattr(command, "commands"):
            commands += [(f"{name} {sub}", child) for sub, child in command.commands.items()]
            continue
        assert f"filterlens {name}" in command.help, name
        assert not [p.name for p in command.params if not p.help and p.name != "help"], name


def test_every_score_is_described() -> None:
    for score in all_scores().values():
        assert score.summary, score.name
        assert score.auxiliary or (score.formula and score.title), score.name


def test_every_lens_has_a_page_that_is_in_the_navigation() -> None:
    navigation = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    for name in all_lenses():
        assert (DOCS / "lenses" / f"{name}.md").is_file(), name
        assert f"lenses/{name}.md" in navigation, name


def test_every_page_of_a_lens_shows_one_of_its_figures() -> None:
    for name in all_lenses():
        text = (DOCS / "lenses" / f"{name}.md").read_text(encoding="utf-8")
        assert re.search(rf"!\[[^]]+\]\(\.\./images/gallery/{name}_\w+\.png\)", text), name


def test_every_source_is_documented() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("*.md"))
    for scheme in schemes():
        assert scheme == "file" or f"`{scheme}:" in text, scheme


def test_every_catalog_is_documented() -> None:
    text = (DOCS / "catalogs.md").read_text(encoding="utf-8")
    assert not [name for name in catalog_names() if name not in text]


def _anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as mkdocs makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                there = page.parent / target if target else page
                assert there.exists(), (page.name, target)
                assert not anchor or anchor in _anchors(there), (page.name, target, anchor)


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page.relative_to(DOCS) for page in [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]]
    assert not [str(page) for page in pages if f": {page.as_posix()}\n" not in navigation]
    for page in re.findall(r": (\S+\.(?:md|ipynb))$", navigation, re.MULTILINE):
        assert (DOCS / page).is_file(), page


def _messages() -> str:
    """Every string of the package; `…` stands where a message has a value, neighbouring strings are one."""
    found = []
    for path in (DOCS.parent / "filterlens").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return re.sub(r"…[`']?", "…", "\n".join(found).replace("`", ""))


def test_every_message_of_the_errors_page_is_one_of_the_codes() -> None:
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    shown = [row.split("` |")[0] for row in page.split("\n| `")[1:]]
    assert len(shown) > 40
    code = _messages()
    for message in shown:
        parts = [part.strip(" `(") for part in message.split("…")]
        missing = [part for part in parts if part.strip(" ,:;)") and part not in code]
        assert not missing, f"no message says {missing} any more: {message}"


def test_every_error_has_its_place_on_the_errors_page() -> None:
    headings = re.findall(r"^## .*`(\w+)`$", (DOCS / "errors.md").read_text(encoding="utf-8"), re.MULTILINE)
    children = {name for name in errors.__all__ if name != "FilterlensError"}
    assert all(issubclass(getattr(errors, name), errors.FilterlensError) for name in children)
    assert sorted(headings) == sorted(children)


@pytest.mark.parametrize("name", all_lenses())
def test_every_lens_page_says_the_same_six_things(name: str) -> None:
    page = (DOCS / "lenses" / f"{name}.md").read_text(encoding="utf-8")
    intro, *sections = re.split(r"^## ", page, flags=re.MULTILINE)
    assert len(intro.split()) > 30, "what the lens says comes first"
    long = {section.partition("\n")[0] for section in sections if len(section.split()) > 25}
    asked = {
        "The scores",
        "What it costs",
        "How to read the figures",
        "Pitfalls",
        "Relation to the paper and its peers",
    }
    assert asked <= long, asked - long


def test_the_gallery_has_every_figure() -> None:
    gallery = (DOCS / "gallery.md").read_text(encoding="utf-8")
    for figure in all_figures():
        assert f"images/gallery/{figure.name}.png)" in gallery or f"(`{figure.name}`)" in gallery, figure.name


def _commands() -> dict[str, Any]:
    """Every command by its words, `import filterdb` for one."""
    found = {}
    queue: list[tuple[str, Any]] = list(typer.main.get_group(app).commands.items())
    while queue:
        name, command = queue.pop()
        found[name] = command
        queue += [(f"{name} {sub}", child) for sub, child in getattr(command, "commands", {}).items()]
    return found


def _options() -> set[str]:
    parameters = chain.from_iterable(command.params for command in [*_commands().values(), typer.main.get_command(app)])
    return {option for found in parameters for option in [*found.opts, *found.secondary_opts]} | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_on_a_page_exists(page: Path) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]", page.read_text(encoding="utf-8")))
    assert not named - _options() - OTHERS


def test_every_option_in_a_message_or_help_exists() -> None:
    helps = [f"{command.help} {[p.help for p in command.params]}" for command in _commands().values()]
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]", "\n".join([_messages(), *helps])))
    # of the data set's own tool, of Ray, uv, MLflow and TensorBoard; a prefix
    others = {"--split", "--head", "--torch-backend", "--backend-store-uri", "--logdir", "--no"}
    assert not named - _options() - others


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_page_exists(page: Path) -> None:
    for line in re.findall(r"^(?:    |\$ )filterlens ([a-z].*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        first, _, rest = line.partition(" ")
        second = rest.split(" ")[0]
        assert f"{first} {second}" in _commands() or first in _commands(), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_of_the_package_on_a_page_can_be_imported(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    others = {"filterlens.sources", "filterlens.scores", "filterlens.lenses"}  # groups of entry points
    for name in set(re.findall(r"\bfilterlens(?:\.[A-Za-z_]\w*)+", text)) - others:
        resolve_name(name)
    made = {"docs/safety/hostile.csv"}  # by `make hostile`
    rooms = "filterlens|tests|docs|benchmarks|tools|catalogs|reports/examples"
    for path in set(re.findall(rf"`((?:{rooms})/[\w./-]*)", text)) - made:
        assert (ROOT / path).exists(), path


def test_the_pages_of_the_python_api_are_up_to_date() -> None:
    made = load_script("docs/make_api.py").api_pages()
    written = [DOCS / "api.md", *(DOCS / "api").iterdir()]
    assert {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in written} == made, (
        "run `python docs/make_api.py`"
    )


PUBLIC = (
    "filterlens",
    "filterlens.errors",
    "filterlens.functional",
    "filterlens.runs.executors",
    "filterlens.training",
)


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_has_its_signature_and_parameters_in_the_python_api(module: str) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "api").iterdir())
    for name in import_module(module).__all__:
        real = getattr(import_module(module), name)
        taken = module not in {"filterlens", "filterlens.errors"} and name in import_module("filterlens").__all__
        shown = f"{module.rpartition('.')[2]}.{name}" if taken else name
        title = f"class {shown}" if isinstance(real, type) else shown
        assert text.count(f"\n## {title}\n") == 1, name
        body = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
        if not isinstance(real, type) and not inspect.isfunction(real):
            continue
        signature = re.search(r"```python\n(.*?)```", body, re.DOTALL)
        assert signature is not None, name
        assert f".{name}" in signature[1], name
        for parameter in _parameters(real):
            assert f"{parameter}:" in signature[1], (name, parameter)  # with its type
            assert f"`{parameter}`" in body, (name, parameter)


def _parameters(real: Any) -> list[str]:
    """Names of what it is called with, an exception's and a protocol's aside."""
    if isinstance(real, type) and (issubclass(real, Exception) or getattr(real, "_is_protocol", False)):
        return []
    return [name for name in inspect.signature(real).parameters if name != "self"]


def test_pages_hold_nothing_that_only_one_viewer_understands() -> None:
    """No includes, directives, attribute lists, admonitions or formulas, which a plain viewer shows as they are."""
    raw = re.compile(r"^\s*(:::|--8<--|!!!|\?\?\?|===\s)|\{:?\s*([.#]\w|\w+=)[^}]*\}|\\[(\[]|\$\$|\]_", re.MULTILINE)
    for sample in ("::: a.b", "!!! note", "see [Key]_", "# h {#a}", '![](a.png){ width="1%" }'):
        assert raw.search(sample), sample
    assert not raw.search("a | b {c} [d]: ... e_f_ = 1")
    for page in PAGES:
        prose = re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL))
        assert raw.search(prose) is None, (page.name, raw.search(prose))


def test_code_in_a_table_needs_no_backslash() -> None:
    """Viewers disagree on whether a backslash before a bar within code is shown."""
    for page in PAGES:
        rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
        assert not [row for row in rows if re.search(r"`[^`|]*\\\|[^`]*`", row)], page.name


@pytest.mark.parametrize("name", ["kurtosis_lens", "kurtosis_figures", "mean_norm"])
def test_the_lens_that_is_shown_is_the_one_that_is_tested(name: str) -> None:
    page = (DOCS / "add-a-lens.md").read_text(encoding="utf-8")
    (shown,) = re.findall(rf'```python title="{name}.py"\n(.*?)```', page, re.DOTALL)
    assert shown == (ROOT / "tests" / "plugins" / f"{name}.py").read_text(encoding="utf-8")


def test_lines_that_install_agree() -> None:
    """Extras exist, and are quoted as every shell takes them: `pip install "filterlens[audit]"`."""
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])
    text = _shown()
    lines = re.findall(r"pip\s+install\s+((?:--?[\w-]+(?:\s+cpu)?\s+)*)(\S*(?:filterlens|\.)\[?[\w,]*\]?\S*)", text)
    assert len(lines) > 8
    for _, what in lines:
        bare = what.strip("`'\".,:;)|")
        found = re.fullmatch(r"(filterlens|\.)(?:\[([\w,…]+)\])?", bare)
        if found is None or not found[2]:
            continue
        assert f'"{bare}"' in what, what
        assert set(found[2].split(",")) <= extras, what


def test_the_run_toml_that_is_shown_is_read(tmp_path: Path) -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "run.toml").write_text(shown, encoding="utf-8")
    config = RunConfig.read(tmp_path / "run.toml")
    assert (config.leaderboard, config.settings.fonts) == ("fonts-linf", None)
    assert {name: options.is_fast for name, options in config.lenses.items()} == {"filters": False, "robustness": True}


def _shown() -> str:
    """Every text that users meet: the pages, help of every command, messages."""
    helps = (f"{command.help} {[p.help for p in command.params]}" for command in _commands().values())
    return "\n".join([*(page.read_text(encoding="utf-8") for page in PAGES), *helps, _messages()])


def test_every_model_of_a_shipped_catalog_that_is_named_exists() -> None:
    text = _shown()
    for name in catalog_names():
        known = {entry.model_id for entry in load_catalog(name)}
        named = set(re.findall(rf"(?<![\w/]){re.escape(name)}/([A-Za-z][\w-]*)(?![\w.-]*\.\w)", text))
        assert not named - known - {"MODEL_ID"}, name


def test_an_audit_leaves_git_clean_and_the_committed_example_is_small() -> None:
    files = [path for path in (ROOT / "reports").rglob("*") if "examples" in path.parts and path.is_file()]
    for zoo in ("fonts-linf", "cifar10-small"):
        example = ROOT / "reports" / "examples" / zoo
        assert example / "index.html" in files
        assert sum(path.stat().st_size for path in files if example in path.parents) < 2_000_000
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    written = ["index.html", "run.toml", "dumps/a.h5", "figures/a.png", "tables/models.csv", ".lock"]
    paths = [f"reports/fonts-linf/{name}" for name in written]
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", *paths], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == paths
    tracked = subprocess.run(["git", "ls-files", "reports"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not [path for path in tracked.stdout.split() if not path.startswith(("reports/examples/", "reports/README"))]
