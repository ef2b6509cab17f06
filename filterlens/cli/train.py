"""`filterlens train`: small networks on FONTS, one recipe at a time, or the whole bundled zoo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from filterlens.cli import options as o

if TYPE_CHECKING:
    from rich.progress import Progress

    from filterlens.training.loop import Step

__all__ = ["train"]


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="normal, pgd, half, fgsm, free, trades, on-manifold, transformations; `zoo`: every bundled model; or "
            "`manifold`: a decoder of --data for `--manifold FILE`."
        ),
    ],
    *,
    arch: Annotated[
        str, typer.Option("--arch", help="preact_resnet, resnet_strided, vgg_maxpool or wide_resnet_avgpool.")
    ] = "preact_resnet",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for weights and log. Default: trained/RECIPE-ARCH-sSEED.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the images.")] = 12,
    images: Annotated[int, typer.Option("--images", "-n", min=1, help="Training images, drawn by the seed.")] = 8000,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images a step.")] = 64,
    learning_rate: Annotated[float, typer.Option("--learning-rate", min=0.0, help="Highest one of AdamW.")] = 0.005,
    eps: Annotated[float, typer.Option("--eps", min=0.0, help="L∞ radius of attacks on pixels.")] = 0.2,
    eta: Annotated[float, typer.Option("--eta", min=0.0, help="L∞ radius of attacks on latents.")] = 0.3,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Of each attack.")] = 4,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Keep every epoch's weights.")] = False,
    seed: o.TrainingSeed = 0,
    device: o.TrainingDevice = "cpu",
    fonts: o.Fonts = None,
    data: Annotated[str, typer.Option("--data", help="Images of a manifold's training.")] = "fonts",
    jobs: o.Jobs = 2,
) -> None:
    """Train a small network on FONTS; the same command goes on where it was stopped.

    Examples
    --------
        filterlens train pgd --arch vgg_maxpool --out trained/vgg

        filterlens train zoo --out catalogs/fonts-linf

        filterlens train manifold --data cifar10 --images 50000 --out trained/cifar10-manifold
    """
    from filterlens.cli.printing import say

    if recipe == "zoo":
        _zoo(out, jobs)
        return
    if recipe == "manifold":
        _manifold(data, out, images=images, epochs=epochs, batch_size=batch_size, seed=seed, device=device)
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
            seed=seed,
            checkpoints=checkpoints,
            progress=show,
            epochs=epochs,
            images=images,
            batch_size=batch_size,
            learning_rate=learning_rate,
            eps=eps,
            eta=eta,
            steps=steps,
            fonts="" if fonts is None else str(fonts),
            device=device,
        )
    say(f"weights: {trained.weights}; log: {trained.weights.with_name('log.csv')}")


def _zoo(out: Path | None, jobs: int) -> None:
    from filterlens.cli.printing import say
    from filterlens.commands.train import train_zoo

    with _bar() as bar:
        task = bar.add_task("zoo", total=None)

        def show(name: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            bar.console.print(f"{done}/{total} {name}", markup=False, highlight=False)

        card = train_zoo(out, jobs=jobs, progress=show)
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
