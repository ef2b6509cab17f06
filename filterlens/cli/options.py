"""Options that several commands share, said once."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import completion
from filterlens.lens import all_lenses


class Format(StrEnum):
    """How a table is printed."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"


class Dumps(StrEnum):
    """Whether the weights that a lens looks at are stored."""

    all = "all"
    none = "none"


Leaderboard = Annotated[
    str,
    typer.Option(
        "--leaderboard",
        "-l",
        help="Name of a shipped catalog, or the path of a CSV file. Default: cifar10-small, which is bundled.",
        autocompletion=completion.catalogs,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="A run's run.toml to repeat; options given beside it go before its own."),
]
Checkpoints = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        help="Checkpoints of a training, or of several in a folder each, not a leaderboard: scores by epoch.",
    ),
]
Arch = Annotated[
    str,
    typer.Option(
        "--arch",
        help="What the weights of a file (audit: of --folder) fill: timm:NAME, torchvision:NAME, "
        "module:package.mod:factory or bundled:NAME. Without it, weights alone are for the filters lens only.",
    ),
]
Eps = Annotated[
    str, typer.Option("--eps", help="L∞ radius of attacks on a network that no catalog lists, such as 8/255.")
]
Mean = Annotated[
    str, typer.Option("--mean", help="Normalisation of a network that no catalog lists: one number a channel.")
]
Std = Annotated[str, typer.Option("--std", help="The same; goes with --mean.")]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--models",
        "-m",
        help="Only these model ids (shell patterns, repeatable).",
        autocompletion=completion.models_of_option,
    ),
]
Lenses = Annotated[
    list[str] | None,
    typer.Option(
        "--lens",
        help=f"Comma-separated or repeated: {', '.join(all_lenses())}; or `all`. Default: filters; of "
        "cifar10-small all but perturbation, corruption and manifold; of fonts-linf all.",
        autocompletion=completion.lenses,
    ),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The run's folder. Default: reports/CATALOG.")]
Extend = Annotated[
    bool,
    typer.Option("--extend", help="Add to the run that --out holds, though it is of another catalog or options."),
]
Replace = Annotated[
    bool,
    typer.Option("--replace", help="Start anew where --out holds a run; files of others in the folder stay."),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Images: fonts, cifar10, cifar100, imagenet, a .npz with `images` and `labels`, an image folder, IDX "
        "files (Fashion-MNIST, EMNIST) or CelebA. "
        "Default: the catalog's data set; of cifar10-small cifar10-bundled-512, test images that come with filterlens.",
    ),
]
Fast = Annotated[
    bool | None,
    typer.Option(
        "--fast/--paper",
        help="Fewer steps and restarts than the papers; named so in every output. Default: the papers' settings; "
        "for a bundled zoo, fast.",
        show_default=False,
    ),
]
FastOne = Annotated[
    bool,
    typer.Option("--fast/--paper", help="Fewer steps and restarts than the papers, or as many.", show_default=True),
]
Fonts = Annotated[
    Path | None, typer.Option("--fonts", help="Folder of .ttf files for FONTS instead of matplotlib's.", exists=True)
]
Seed = Annotated[int | None, typer.Option("--seed", help="Random seed.", show_default="0")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, …", show_default="cpu")]
TrainingSeed = Annotated[int, typer.Option("--seed", help="Random seed.")]
TrainingDevice = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, …")]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Images in one forward pass.", show_default="64")
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Local processes; threads are divided among them.")]
RayAddress = Annotated[
    str, typer.Option("--ray", help="Run on a Ray cluster: auto, an address, or `local` to start one here.")
]
GpusPerModel = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-model", min=0.0, help="GPUs a job takes on the cluster; fractions share one. Default: 1 with cuda."
    ),
]
CpusPerModel = Annotated[
    float, typer.Option("--cpus-per-model", min=0.1, help="Processors, and threads, a job takes on the cluster.")
]
TrustPickle = Annotated[
    bool | None,
    typer.Option("--trust-pickle", help="Let checkpoints run code when loaded. Only for files that you made."),
]
AllowCode = Annotated[
    bool,
    typer.Option("--allow-code", help="Let `module:` rows of the catalog run code. Only for catalogs that you trust."),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline", envvar="FILTERLENS_OFFLINE", help="Fetch nothing: what is cached loads, the rest is said."
    ),
]


def _set_mirror(place: str) -> str:
    """Hand it on by the environment, which worker processes inherit."""
    if place:
        from filterlens.loaders.mirror import check_mirror

        check_mirror(place.strip().rstrip("/"))
        os.environ["FILTERLENS_MIRROR"] = place
    return place


Mirror = Annotated[
    str,
    typer.Option(
        "--mirror",
        envvar="FILTERLENS_MIRROR",
        callback=_set_mirror,
        metavar="PLACE",
        help="Ask a folder or web server in the cache's layout first; a folder also with --offline.",
    ),
]
Evict = Annotated[
    bool,
    typer.Option(
        "--evict",
        help="Remove a checkpoint that this run fetched once its lenses are done, never one that was there before.",
    ),
]
StoredDumps = Annotated[
    Dumps | None,
    typer.Option(
        "--dumps",
        help="none: no weights are stored; they are scored where a model is loaded, and checkpoints are read again for "
        "what all models say together.",
        show_default="all",
    ),
]
Reread = Annotated[
    bool,
    typer.Option(
        "--reread", help="Read checkpoints again whose weights are in no dump (--dumps none). Fetches nothing."
    ),
]
TimeLimit = Annotated[
    str,
    typer.Option(
        "--time-limit",
        metavar="DURATION",
        help="Begin no model that would end later, such as 3h45m; exit code 143, and the same command goes on.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say which models, jobs, downloads, disk and time it would take, and do nothing; the first model is "
        "measured in a temporary folder, unless --out holds others.",
    ),
]
FirstStagePair = Annotated[
    str,
    typer.Option(
        "--first-stage-pair",
        metavar="ROBUST_ID",
        help="Robust model whose first stage under attack is drawn beside its normal one's. Default: the first pair.",
    ),
]
Style = Annotated[
    str,
    typer.Option(
        "--style",
        metavar="PRESET",
        help="Sizes and fonts of figures: plain, neurips, cvpr, icml or slides. Default: that of run.toml, or plain.",
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show warnings; keep tracebacks in the ledger.")]
LogFile = Annotated[Path | None, typer.Option("--log-file", help="Write warnings and events to this file.")]
Form = Annotated[Format, typer.Option("--format", "-f", help="How to print it; csv and json are for machines.")]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.")]


def names_of(given: list[str] | None) -> list[str]:
    """Names in the order given: separated by commas, or the option repeated, or both."""
    return [name.strip() for said in given or () for name in said.split(",") if name.strip()]
