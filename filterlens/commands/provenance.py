"""How a run's scores were made, as it is published: options, seed, digests, versions; no path of somebody's machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filterlens.catalogs import Entry
from filterlens.lens import Options, all_lenses
from filterlens.process.printable import printable
from filterlens.runs.config import RunConfig
from filterlens.score import Score
from filterlens.version import __version__

if TYPE_CHECKING:
    from filterlens.report.data import RunData

__all__ = ["Provenance", "config_of", "plain", "provenance_of"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a model's scores were made.

    Parameters
    ----------
    lenses
        The options of each lens.
    seed
        The run's.
    weights, checkpoint
        SHA-256 of the weights, and of the file that they came from.
    images
        Digest of the images.
    date
        When its last lens began.
    versions
        Of packages that may change a number.
    """

    lenses: Mapping[str, Options]
    seed: int
    weights: str
    checkpoint: str
    images: str
    date: str
    versions: Mapping[str, str]

    def of(self, score: Score) -> dict[str, Any]:
        """Return the settings of a score's lens, as plain values; of files by name, their own name alone."""
        options = self.lenses.get(score.lens)
        known = {} if options is None else options.plain()
        own = {name: plain(value) for name, value in known.items() if value not in (None, "")}
        looks_at_images = score.lens in all_lenses() and all_lenses()[score.lens].needs_images
        data = {"seed": self.seed, "images_digest": self.images} if looks_at_images else {}
        head = {"filterlens": __version__, "lens": score.lens, "weights_sha256": self.weights}
        return {name: value for name, value in (head | own | data).items() if value != ""}


def plain(value: object) -> object:
    """Return a setting as a plain value; of a path, its last part: where it lies on somebody's machine is theirs."""
    if isinstance(value, Path):
        return value.name
    if isinstance(value, str):
        return printable(value.rpartition("/")[2])
    return value if isinstance(value, bool | int | float) else printable(str(value))


def config_of(folder: Path) -> RunConfig:
    """Read a run's `run.toml`, an empty one where there is none: it is shown, and nothing that it names is run."""
    path = folder / "run.toml"
    return RunConfig.read(path, allow_code=True) if path.is_file() else RunConfig()


def provenance_of(run: RunData, entry: Entry, config: RunConfig) -> Provenance:
    """Return how a model's scores were made, by its last line in the run's ledger."""
    rows = run.ledger[(run.ledger["model_id"] == entry.model_id) & (run.ledger["status"] == "ok")]
    last = rows.sort_values("started").iloc[-1].to_dict() if len(rows) else {}
    images = config.content.get(f"data.{entry.dataset}") or config.content.get("data", "")
    return Provenance(
        lenses=config.lenses,
        seed=config.settings.seed,
        weights=printable(str(last.get("weights_sha256", ""))),
        checkpoint=printable(str(last.get("sha256", ""))),
        images=printable(images),
        date=printable(str(last.get("started", ""))),
        versions={name: printable(text) for name, text in dict(last.get("versions") or {}).items()},
    )
