"""What a training leaves after an epoch and goes on from: weights, optimiser, log and plan in one file."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from filterlens.errors import CheckpointError, InputError
from filterlens.loaders.architectures import build_as_said
from filterlens.process.digests import file_digest
from filterlens.process.files import write_atomically
from filterlens.training.data import TrainingData
from filterlens.training.plan import TrainingPlan
from filterlens.training.stopping import judge

__all__ = ["KEPT", "State", "give_back", "keep_state", "read_state", "training_digest"]

_STATE: Final = "state.safetensors"
KEPT: Final = "kept.safetensors"


def keep_state(
    out: Path,
    plan: TrainingPlan,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    log: list[dict[str, float]],
    *,
    data: TrainingData,
    checkpoints: bool,
) -> None:
    """Write what an epoch leaves; the state last, so that it never claims more than there is.

    Under a rule of stopping, `kept.safetensors` are the weights that would be given back now.
    """
    metadata = _metadata(plan, log, data)
    weights = save(_contiguous(model.state_dict()), metadata)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(log[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(log)
    if checkpoints:
        write_atomically(out / "checkpoints" / f"epoch-{len(log) - 1:03d}.safetensors", weights)
    write_atomically(out / "log.csv", table.getvalue().encode())
    write_atomically(out / "weights.safetensors", weights)
    if plan.stopping and judge(plan.stopping, log)[0] == len(log) - 1:
        write_atomically(out / KEPT, weights)
    write_atomically(out / _STATE, save(_contiguous(model.state_dict()) | _moments(optimiser), metadata))


def give_back(out: Path, plan: TrainingPlan) -> nn.Module | None:
    """Bring the weights that a rule of stopping kept to `weights.safetensors`; None without such a rule.

    Raises
    ------
    CheckpointError
        They cannot be read.
    """
    if not plan.stopping:
        return None
    try:
        content = (out / KEPT).read_bytes()
        weights = load(content)
        with safe_open(out / KEPT, framework="pt") as file:
            network = build_as_said(file.metadata() or {})
        network.load_state_dict(weights)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{out / KEPT} cannot be read ({error}): remove {out} to start again") from error
    write_atomically(out / "weights.safetensors", content)
    return network.eval()


def training_digest(plan: TrainingPlan, data: TrainingData) -> str:
    """Digest of the data, and of a learned manifold that is trained with."""
    return f"{data.digest}+{file_digest(Path(plan.manifold))}" if plan.manifold else data.digest


def _metadata(plan: TrainingPlan, log: list[dict[str, float]], data: TrainingData) -> dict[str, str]:
    return {
        "architecture": plan.architecture,
        "recipe": plan.recipe,
        "seed": str(plan.seed),
        "eps": str(plan.eps),
        "in_channels": str(data.channels),
        "classes": str(data.classes),
        "width": str(plan.width),
        "blocks": str(plan.blocks),
        "activation": plan.activation,
        "data_digest": training_digest(plan, data),
        "epochs_done": str(len(log)),
        "torch": torch.__version__,
        "plan": json.dumps(asdict(plan)),
        "log": json.dumps(log),
    }


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    states = optimiser.state_dict()["state"]
    return _contiguous({f"optimiser/{i}/{name}": value for i, state in states.items() for name, value in state.items()})


@dataclass(frozen=True, slots=True)
class State:
    """What a training left when it stopped, after its last whole epoch."""

    metadata: dict[str, str]
    tensors: dict[str, Tensor]

    @property
    def log(self) -> list[dict[str, float]]:
        """One row an epoch."""
        rows: list[dict[str, float]] = json.loads(self.metadata["log"])
        return rows

    @property
    def data_digest(self) -> str:
        """Digest of the data; empty in states of earlier versions."""
        return self.metadata.get("data_digest", "")

    @property
    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.tensors.items() if not name.startswith("optimiser/")}

    def network(self) -> nn.Module:
        """Build the network in eval mode."""
        model = build_as_said(self.metadata)
        model.load_state_dict(self._weights)
        return model.eval()

    def load_into(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> list[dict[str, float]]:
        """Fill network and optimiser; return the log."""
        state: dict[int, dict[str, Tensor]] = {}
        for key in [key for key in self.tensors if key.startswith("optimiser/")]:
            _, number, name = key.split("/")
            state.setdefault(int(number), {})[name] = self.tensors[key]
        model.load_state_dict(self._weights)
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        return self.log


def read_state(folder: Path, plan: TrainingPlan) -> State | None:
    """Read the state that a training left in its folder; None where there is none.

    Raises
    ------
    InputError
        It is of another plan.
    CheckpointError
        It cannot be read.
    """
    path = folder / _STATE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): remove it to start again") from error
    if not _is_of(plan, json.loads(metadata.get("plan", "{}"))):
        raise InputError(f"{folder} holds a training of another plan: choose another --out, or remove the folder")
    return State(metadata, tensors)


def _is_of(plan: TrainingPlan, said: dict[str, Any]) -> bool:
    """Whether a stored plan is this one: fields that it lacks are at their defaults, and data may have moved."""
    defaults = {field.name: field.default for field in fields(TrainingPlan)}
    wanted = asdict(plan)
    if "fonts" not in {said.get("data", "fonts"), plan.data}:
        wanted["data"] = said["data"]
    return defaults | said == wanted
