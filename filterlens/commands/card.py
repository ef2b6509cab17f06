"""`card`: a model's scores for its card: Markdown, and evaluation results as the Hugging Face Hub reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from filterlens.catalogs import Entry
from filterlens.commands.provenance import Provenance, config_of, provenance_of
from filterlens.errors import CatalogError, InputError, ReportError
from filterlens.lens import all_lenses, all_scores
from filterlens.process.markup import markdown_code, markdown_text
from filterlens.process.printable import printable
from filterlens.runs.config import RunConfig
from filterlens.score import Score, model_scores

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from filterlens.report.data import RunData

__all__ = ["Card", "card", "read_card"]

_BEGIN: Final = "<!-- filterlens: made by `filterlens card`, which replaces all up to the end -->"
_END: Final = "<!-- end of filterlens -->"
_SECTION: Final = re.compile(r"<!-- filterlens: .*?-->.*?<!-- end of filterlens -->", re.DOTALL)
_MAX_CARD: Final = 4 << 20
_DATASET_ID: Final = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Card:
    """A model's scores for its card.

    Parameters
    ----------
    model_id
        The model.
    section
        Markdown: the scores, how they were made, of which weights, and what to keep in mind.
    results
        `huggingface_hub.EvalResult`s: what a card's `model-index` is made of.
    entries
        Rows of a file in `.eval_results/`, where a benchmark was named; otherwise empty.
    """

    model_id: str
    section: str
    results: tuple[EvalResult, ...]
    entries: tuple[dict[str, Any], ...] = field(default=())

    @property
    def text(self) -> str:
        """A card of its own: metadata and section."""
        return self.put_into("")

    def put_into(self, content: str) -> str:
        """Return a card's text with this section and these results in the place of earlier ones of filterlens.

        Parameters
        ----------
        content
            The card (`README.md`); its other metadata, results and text stay.

        Raises
        ------
        InputError
            Its metadata cannot be read, or the marks of a section are not in pairs.
        """
        from huggingface_hub import ModelCard

        try:
            found = ModelCard(content or "---\n{}\n---\n", ignore_metadata_errors=False)
            data: Any = found.data  # of the library's base class
            others = [result for result in data.eval_results or () if "filterlens" not in (result.dataset_args or {})]
        except Exception as error:
            raise InputError(f"the card's metadata cannot be read: {' '.join(str(error).split()):.300}") from error
        marks = found.text.count("<!-- filterlens: "), found.text.count(_END)
        if marks not in {(0, 0), (1, 1)}:
            raise InputError(f"the card's marks of filterlens' section are not a pair: remove them ({_BEGIN}, {_END})")
        data.model_name = data.model_name or printable(self.model_id)
        data.eval_results = [*others, *self.results]
        own = f"{_BEGIN}\n{self.section}\n{_END}"
        if _SECTION.search(found.text):
            found.text = _SECTION.sub(lambda _: own, found.text)
        else:
            found.text = f"{found.text.rstrip()}\n\n{own}\n".lstrip("\n")
        return f"{found}".rstrip("\n") + "\n"

    @property
    def eval_results(self) -> str:
        """The YAML of a file in `.eval_results/`; empty where no benchmark was named."""
        import yaml

        return yaml.safe_dump(list(self.entries), sort_keys=False, allow_unicode=True) if self.entries else ""


def card(folder: str | Path, model_id: str, *, benchmark: str = "") -> Card:
    """Write a model's scores for its card on the Hugging Face Hub.

    Parameters
    ----------
    folder
        A run's folder, analysed.
    model_id
        One of its models.
    benchmark
        Id of a data set of the Hub that registers filterlens' scores as tasks: entries for `.eval_results/` are made,
        whose `task_id` is the score's name.

    Raises
    ------
    ReportError
        The folder is no analysed run, or has no scores of the model.
    CatalogError
        The run has no such model.
    InputError
        `benchmark` is no id, or the installed huggingface_hub does not know `.eval_results/`.

    Examples
    --------
    >>> import filterlens
    >>> made = filterlens.card("reports/mine", "preact_resnet-pgd-s0")  # doctest: +SKIP
    >>> Path("README.md").write_text(made.put_into(Path("README.md").read_text()))  # doctest: +SKIP
    """
    from filterlens.report import read_run

    run = read_run(Path(folder), every=True)
    if model_id not in run.models.index:
        raise CatalogError(f"{folder} has no model {model_id!r}; its catalog.csv lists those that it has")
    entry = run.catalog[model_id]
    scores = run.scores[run.scores["model_id"] == model_id]
    if scores.empty:
        raise ReportError(f"{folder} has no scores of {model_id}: see its ledger.jsonl for why")
    means = model_scores(scores).iloc[0].to_dict()
    values = {str(name): float(value) for name, value in means.items() if math.isfinite(value)}
    shown = [score for score in all_scores().values() if not score.auxiliary and score.name in values]
    config = config_of(run.folder)
    facts = provenance_of(run, entry, config)
    results = tuple(_result(score, values[score.name], entry, facts) for score in shown)
    entries = _entries(benchmark, shown, values, facts) if benchmark else ()
    notes = _notes(run, model_id, config, scores["note"])
    return Card(model_id, _section(entry, shown, values, facts, notes), results, entries)


def read_card(path: Path) -> str:
    """Read a card, or nothing where there is none.

    Raises
    ------
    InputError
        It is no UTF-8 text, or too large for a card.
    """
    if not path.is_file():
        return ""
    try:
        if path.stat().st_size > _MAX_CARD:
            raise InputError(f"{path} is larger than {_MAX_CARD >> 20} MB: that is no card")
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a card ({error})") from error


def _result(score: Score, value: float, entry: Entry, facts: Provenance) -> EvalResult:
    from huggingface_hub import EvalResult

    images = score.lens in all_lenses() and all_lenses()[score.lens].needs_images
    dataset = printable(entry.dataset) or "unknown"
    return EvalResult(
        task_type="image-classification",
        dataset_type=dataset,
        dataset_name=dataset if images else f"{dataset} (weights alone, no images)",
        dataset_config=f"filterlens {score.lens}",  # results of one config share their args
        dataset_args=facts.of(score),
        metric_type=score.name,
        metric_name=score.title,
        metric_value=float(f"{value:.6g}"),
    )


def _entries(
    benchmark: str, shown: Sequence[Score], values: Mapping[str, float], facts: Provenance
) -> tuple[dict[str, Any], ...]:
    if not _DATASET_ID.fullmatch(benchmark):
        raise InputError(
            f"--benchmark {benchmark}: expected the id of a data set of the Hub, such as my-org/robustness"
        )
    try:
        from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    except ImportError as error:
        raise InputError("--benchmark needs a newer huggingface_hub: pip install -U huggingface_hub") from error
    entries = [
        EvalResultEntry(
            dataset_id=benchmark,
            task_id=score.name,
            value=float(f"{values[score.name]:.6g}"),
            date=facts.date or None,
            notes=", ".join(f"{name} {value}" for name, value in facts.of(score).items()),
        )
        for score in shown
    ]
    return tuple(eval_result_entries_to_yaml(entries))


def _notes(run: RunData, model_id: str, config: RunConfig, notes: Any) -> list[str]:  # noqa: ANN401 - a column
    """Say what to keep in mind: settings that are not the papers', what the scores say, layers that are dead."""
    fast = [name for name, options in config.lenses.items() if options.is_fast]
    found = [f"The fast settings were used, with fewer steps than the papers': {', '.join(fast)}."] if fast else []
    rows = run.ledger[run.ledger["model_id"] == model_id]
    faults = dict.fromkeys(fault for faults in rows["faults"] for fault in faults)
    said = [*faults, *dict.fromkeys(str(note) for note in notes if note)]
    failed = [f"{row.lens} was not measured: {row.reason}" for row in rows.itertuples() if row.status != "ok"]
    return [*found, *(f"{text}." for text in [*said, *failed])]


def _section(
    entry: Entry, shown: Sequence[Score], values: Mapping[str, float], facts: Provenance, notes: Sequence[str]
) -> str:
    lines = ["## Audit by filterlens", "", "| score | value | 95 % interval | what it measures |", "|---|---:|---|---|"]
    for score in shown:
        ends = [values.get(f"{score.name}_{end}") for end in ("low", "high")]
        interval = "" if None in ends else " … ".join(f"{end:.3g}" for end in ends)
        unit = f" {score.unit}" if score.unit not in {"", "share"} else ""
        cells = (score.title, f"{values[score.name]:.4g}{unit}", interval, score.summary)
        lines.append(f"| {' | '.join(markdown_text(cell) for cell in cells)} |")
    lines += ["", "Means over layers where a score is one of layers. How they were made:", ""]
    for lens in dict.fromkeys(score.lens for score in shown):
        options = facts.of(next(score for score in shown if score.lens == lens))
        said = ", ".join(f"{name} {value}" for name, value in options.items() if name not in _TOLD)
        lines.append(f"- {markdown_text(lens)}: {markdown_text(said) or 'no options'}")
    made = {"model": entry.model_id, "SHA-256 of the weights": facts.weights, "of the checkpoint": facts.checkpoint}
    made |= {"images": facts.images, "date": facts.date}
    made |= {"versions": ", ".join(f"{name} {text}" for name, text in facts.versions.items())}
    lines += [f"- {name}: {markdown_code(text)}" for name, text in made.items() if text]
    lines += ["", "Keep in mind:", "", *(f"- {markdown_text(note)}" for note in notes)] if notes else []
    return "\n".join([*lines, ""])


_TOLD: Final = {"filterlens", "lens", "weights_sha256", "images_digest"}
