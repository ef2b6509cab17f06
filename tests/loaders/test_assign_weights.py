"""Networks take a checkpoint's tensors as their own: the same numbers as a copy, and the file stays as it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from filterlens.errors import CheckpointError
from filterlens.loaders.file import read_weights
from filterlens.loaders.timm import create
from filterlens.loaders.weights import assign_weights, load_weights


def network() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2))
    made(torch.rand(2, 3, 8, 8))
    return made.eval()


def other_weights() -> dict[str, Tensor]:
    made = network()
    for value in made.state_dict().values():
        value.copy_(torch.rand_like(value, dtype=torch.float32) + 0.5)
    return made.state_dict()


def test_what_fits_is_taken_and_what_does_not_is_copied_in_the_networks_type() -> None:
    made, weights = network(), other_weights()
    weights["3.weight"] = weights["3.weight"].double()
    weights["0.weight"] = weights["0.weight"].to(memory_format=torch.channels_last)
    load_weights(made, weights, "x")
    own = made.state_dict()
    assert own["1.weight"].data_ptr() == weights["1.weight"].data_ptr()
    assert own["3.weight"].dtype == torch.float32
    assert own["0.weight"].is_contiguous()
    for name, value in weights.items():
        torch.testing.assert_close(own[name].double(), value.double())
    assert {type(value) for value in made.parameters()} == {nn.Parameter}
    assert all(value.requires_grad for value in made.parameters())


def test_the_output_is_that_of_copied_weights() -> None:
    taken, copied, weights = network(), network(), other_weights()
    load_weights(taken, weights, "x")
    copied.load_state_dict(weights)
    images = torch.rand(4, 3, 8, 8)
    assert torch.equal(taken(images), copied(images))


@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_changing_the_network_changes_no_file(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"w.{form}"
    if form == "pt":
        torch.save(other_weights(), path)
    else:
        save_file(other_weights(), path)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    made = network()
    load_weights(made, read_weights(path)[0], "x")
    with torch.no_grad():
        for value in made.parameters():
            value.add_(1.0)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_layers_that_share_a_weight_still_do() -> None:
    made = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    made[1].weight = made[0].weight
    weights = {name: torch.ones_like(value) for name, value in made.state_dict().items()}
    load_weights(made, weights, "x")
    assert made[0].weight is made[1].weight
    assert made.get_parameter("0.weight").data_ptr() != weights["0.weight"].data_ptr()
    assert torch.equal(made.get_parameter("0.weight"), torch.ones(3, 3))


def test_errors_and_torch_itself_are_as_before() -> None:
    original = nn.Module.load_state_dict
    with pytest.raises(RuntimeError, match="size mismatch"), assign_weights():
        nn.Linear(2, 2).load_state_dict({"weight": torch.ones(3, 2), "bias": torch.ones(2)})
    with pytest.raises(CheckpointError, match="do not belong"):
        load_weights(network(), {"weight": torch.ones(2, 2)}, "x")
    assert nn.Module.load_state_dict is original


def test_old_batch_norms_keep_their_version() -> None:
    """Files from before torch 0.4.1 count no batches, which only BatchNorm's own reading allows."""
    made = nn.BatchNorm2d(2)
    weights = {name: value for name, value in made.state_dict().items() if name != "num_batches_tracked"}
    with assign_weights():
        made.load_state_dict(weights)


def test_timm_gets_each_weight_once_and_keeps_plain_tensors(tmp_path: Path) -> None:
    import timm

    weights = timm.create_model("resnet10t").state_dict()
    torch.save(weights, tmp_path / "w.pt")
    mapped = read_weights(tmp_path / "w.pt")[0]
    made = create("resnet10t", mapped, tmp_path / "w.pt")
    assert {type(value) for value in (*made.parameters(), *made.buffers())} == {nn.Parameter, Tensor}
    for name, value in made.state_dict().items():
        assert torch.equal(value, weights[name])
        assert value.dim() == 0 or value.data_ptr() == mapped[name].data_ptr()
