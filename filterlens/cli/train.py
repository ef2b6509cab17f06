"""`filterlens train`: small networks on FONTS or photographs, one recipe at a time, or a whole bundled zoo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from filterlens.cli import options as o

if TYPE_CHECKING:
    from rich.progress import Progress

    from filterlens.training.loop import Step

__all__ = ["train"]

_ZOOS = {"zoo": "fonts-linf", "fonts-linf": "fonts-linf", "cifar10-small": "cifar10-small"}


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="normal, pgd, half, fgsm, free, trades, mart, awp, on-manifold, transformations; `zoo` or "
            "`cifar10-small`: every model of a bundled zoo; or `manifold`: a decoder of --data for `--manifold FILE`."
        ),
    ],
    *,
    arch: Annotated[
        str, typer.Option("--arch", help="preact_resnet, resnet_strided, vgg_maxpool or wide_resnet_avgpool.")
    ] = "preact_resnet",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for weights and log. Default: trained/[DATA-]RECIPE-ARCH-sSEED."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Images: fonts, cifar10, cifar100, a .npz, a folder or .zip. Default: fonts."),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the images [12 | 10].")] = None,
    images: Annotated[
        int | None, typer.Option("--images", "-n", min=1, help="Training images, drawn by the seed [8000 | 50000].")
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Images a step [64].")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", min=0.0, help="Highest one [0.005 | 0.1].")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option("--weight-decay", min=0.0, help="Of the optimiser [0.0005].")
    ] = None,
    optimiser: Annotated[str | None, typer.Option("--optimiser", help="adamw or sgd [adamw | sgd].")] = None,
    schedule: Annotated[
        str | None, typer.Option("--schedule", help="Of the learning rate: cosine or cyclic [cosine | cyclic].")
    ] = None,
    width: Annotated[int | None, typer.Option("--width", min=2, help="Channels of the first stage [16 | 32].")] = None,
    blocks: Annotated[int | None, typer.Option("--blocks", min=1, help="Residual blocks a stage [1].")] = None,
    activation: Annotated[str | None, typer.Option("--activation", help="relu or silu [relu].")] = None,
    beta: Annotated[
        float | None, typer.Option("--beta", min=0.0, help="Weight of TRADES' and MART's second term [6].")
    ] = None,
    gamma: Annotated[
        float | None, typer.Option("--gamma", min=0.0, help="Length of AWP's step, relative to the weights [0.005].")
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option("--label-smoothing", min=0.0, max=1.0, help="Target spread over all classes [0].")
    ] = None,
    label_noise: Annotated[
        float | None, typer.Option("--label-noise", min=0.0, max=1.0, help="Share of labels drawn at random [0].")
    ] = None,
    auto_augment: Annotated[
        bool | None, typer.Option("--auto-augment", help="AutoAugment's policy for CIFAR-10.", show_default=False)
    ] = None,
    stopping: Annotated[
        str | None,
        typer.Option(
            "--stopping",
            help="Give back the epoch of the highest PGD accuracy on held-out images (pgd), or the last before "
            "aliasing jumps (aliasing), not the last epoch.",
        ),
    ] = None,
    manifold: Annotated[
        Path | None,
        typer.Option("--manifold", help="Learned manifold for `on-manifold`: a file of `filterlens train manifold`."),
    ] = None,
    eps: Annotated[
        float | None, typer.Option("--eps", min=0.0, help="L∞ radius of attacks on pixels [0.2 | 8/255].")
    ] = None,
    eta: Annotated[float | None, typer.Option("--eta", min=0.0, help="L∞ radius of attacks on latents [0.3].")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Of each attack [4].")] = None,
    bf16: Annotated[
        bool | None,
        typer.Option("--bf16/--no-bf16", help="Forward passes in bfloat16 [no | where the device computes it]."),
    ] = None,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Keep every epoch's weights.")] = False,
    seed: o.TrainingSeed = 0,
    device: o.TrainingDevice = "cpu",
    fonts: o.Fonts = None,
    latents: Annotated[int, typer.Option("--latents", min=1, help="Of `manifold`, its dimensions.")] = 10,
    pairs: Annotated[
        int | None, typer.Option("--pairs", min=1, help="Of a zoo, only the first so many matched pairs.")
    ] = None,
    jobs: o.Jobs = 2,
) -> None:
    """Train a small network; the same command goes on where it was stopped.

    Defaults in brackets are those for FONTS and, behind a bar, those for photographs.

    Examples
    --------
        filterlens train pgd --arch vgg_maxpool --out trained/vgg

        filterlens train fgsm --data cifar10 --arch resnet_strided --out trained/cifar

        filterlens train zoo --out catalogs/fonts-linf

        filterlens train cifar10-small --data cifar10.zip --pairs 2 --out trained/small

        filterlens train manifold --data cifar10 --images 50000 --out trained/cifar10-manifold
    """
    from filterlens.cli.printing import say

    said = {
        "epochs": epochs,
        "images": images,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "optimiser": optimiser,
        "schedule": schedule,
        "width": width,
        "blocks": blocks,
        "activation": activation,
        "beta": beta,
        "gamma": gamma,
        "label_smoothing": label_smoothing,
        "label_noise": label_noise,
        "auto_augment": auto_augment,
        "stopping": stopping,
        "manifold": None if manifold is None else str(manifold),
        "eps": eps,
        "eta": eta,
        "steps": steps,
        "mixed_precision": bf16,
        "half_precision": bf16,
    }
    settings = {name: value for name, value in said.items() if value is not None}
    if recipe in _ZOOS:
        _zoo(_ZOOS[recipe], out, data=data or "", pairs=pairs, jobs=jobs)
        return
    if recipe == "manifold":
        how = {name: settings[name] for name in ("epochs", "images", "batch_size") if name in settings}
        _manifold(data or "fonts", out, **how, latents=latents, seed=seed, device=device)
        return
    from filterlens.commands.train import train as run

    with _bar() as bar:
        task = bar.add_task(f"{recipe} {arch}", total=None)

        def show(step: Step) -> None:
            bar.update(task, completed=step.done, total=step.total)
            if step.row is not None:
                bar.console.print(_line(step.row), markup=False, highlight=False)

        trained = run(
            recipe,
            out,
            arch=arch,
            data=data or "fonts",
            seed=seed,
            checkpoints=checkpoints,
            progress=show,
            fonts="" if fonts is None else str(fonts),
            device=device,
            **settings,
        )
    say(f"weights: {trained.weights}; log: {trained.weights.with_name('log.csv')}")


def _zoo(zoo: str, out: Path | None, **how: Any) -> None:  # noqa: ANN401 - options of the training
    from filterlens.cli.printing import say
    from filterlens.commands.train import train_zoo

    with _bar() as bar:
        task = bar.add_task(zoo, total=None)

        def show(name: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            bar.console.print(f"{done}/{total} {name}", markup=False, highlight=False)

        card = train_zoo(out, zoo=zoo, **how, progress=show)
    say(f"weights and card: {card.parent}; catalog: {card.parent.with_suffix('.csv')}")


def _manifold(data: str, out: Path | None, **how: Any) -> None:  # noqa: ANN401 - options of the training
    from filterlens.cli.printing import say
    from filterlens.cli.terminal import make_console
    from filterlens.commands.train import train_manifold

    console = make_console()

    def show(done: int, total: int, losses: dict[str, float]) -> None:
        console.print(f"epoch {done}/{total}: " + ", ".join(f"{name} {value:.2f}" for name, value in losses.items()))

    learned = train_manifold(data, out, **how, progress=show)
    say(f"manifold: {learned.path}; mean L2 error of held-out reconstructions: {learned.reconstruction_l2:.3f}")


def _line(row: dict[str, float]) -> str:
    accuracies = f"clean {100 * row['clean_accuracy']:.1f} %, robust {100 * row['robust_accuracy']:.1f} %"
    return f"epoch {row['epoch']:.0f}: loss {row['train_loss']:.3f}, {accuracies}, {row['seconds']:.0f} s"


def _bar() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from filterlens.cli.terminal import describe_task, make_console

    return Progress(describe_task(), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=make_console())
