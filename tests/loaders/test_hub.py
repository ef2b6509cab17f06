"""A repository of the Hugging Face Hub chooses a network of timm's and some sizes of it; nothing of it runs."""

from __future__ import annotations

import hashlib
import json
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from loaders.conftest import Load
from safetensors.torch import save

from filterlens.errors import CheckpointError, DownloadError
from filterlens.loaders.model import LoadedModel
from filterlens.loaders.timm import check_size, create

ARCHITECTURE = "resnet10t"
COMMIT = "0123456789012345678901234567890123456789"
CFG = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "input_size": [3, 64, 64], "num_classes": 7}
CONFIG = {"architecture": ARCHITECTURE, "num_classes": 7, "pretrained_cfg": CFG}

Publish = Callable[..., None]


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does: `ORG/NAME/resolve/REVISION/FILE`, with a commit and an ETag."""

    server: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        content = self.server.files.get(self.path.rpartition("/")[2])
        self.send_response(200 if content is not None else 404)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if body:
            self.wfile.write(content or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


class Hub(ThreadingHTTPServer):
    """A hub with one repository."""

    files: dict[str, bytes]
    asked: list[str]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = Hub(("127.0.0.1", 0), Handler)
    made.files, made.asked = {}, []
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    address = f"http://127.0.0.1:{made.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = timm.create_model(ARCHITECTURE, num_classes=7)
    return {name: torch.rand_like(value, dtype=torch.float32) + 0.5 for name, value in network.state_dict().items()}


@pytest.fixture
def publish(hub: Hub, weights: dict[str, torch.Tensor]) -> Publish:
    """Put a repository on the hub: a healthy one but for what is given."""

    def put(config: object = CONFIG, **files: bytes) -> None:
        hub.files = {"config.json": config if isinstance(config, bytes) else json.dumps(config).encode()}
        hub.files |= files or {"model.safetensors": save(weights)}

    return put


def test_a_timm_repository_becomes_the_network_that_was_published(
    publish: Publish, load: Load, weights: dict[str, torch.Tensor], hub: Hub
) -> None:
    publish()
    model: LoadedModel = load("hf:org/name")
    reference = timm.create_model(ARCHITECTURE, num_classes=7)
    reference.load_state_dict(weights)
    images = torch.rand(2, 3, 64, 64)
    expected = reference.eval()((images - torch.tensor(CFG["mean"]).view(3, 1, 1)) / 0.2)
    with torch.no_grad():
        torch.testing.assert_close(model.require_classifier("any")(images), expected)
    assert model.input_size == (3, 64, 64)
    seen = len(hub.asked)
    assert load("hf:org/name", offline=True).sha256 == hashlib.sha256(save(weights)).hexdigest()
    assert len(hub.asked) == seen


def test_a_first_layer_of_other_channels_keeps_its_weights(publish: Publish, load: Load) -> None:
    """timm would adapt it from three channels, and draw what it cannot adapt at random."""
    made = timm.create_model(ARCHITECTURE, num_classes=7, in_chans=4)
    state = {name: torch.rand_like(value, dtype=torch.float32) for name, value in made.state_dict().items()}
    cfg = {**CFG, "input_size": [4, 64, 64], "mean": [0.0] * 4, "std": [1.0] * 4}
    publish({**CONFIG, "pretrained_cfg": cfg}, **{"model.safetensors": save(state)})
    loaded = load("hf:org/name").weights
    for name, value in made.named_parameters():
        torch.testing.assert_close(loaded[name], state[name])
        assert value.shape == state[name].shape


def test_a_repository_without_a_description_is_weights(publish: Publish, load: Load, hub: Hub) -> None:
    publish()
    del hub.files["config.json"]
    model = load("hf:org/name")
    assert model.classifier is None
    assert "conv1.0.weight" in model.weights


def test_harmless_arguments_are_passed_on(publish: Publish, load: Load) -> None:
    publish({**CONFIG, "model_args": {"drop_rate": 0.5, "global_pool": "max", "in_chans": 3}})
    network = load("hf:org/name").network
    assert network is not None
    assert network.drop_rate == 0.5
    assert network.get_submodule("global_pool").pool_type == "max"


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    """A pickle that leaves `ran` beside it when it is loaded."""
    path = tmp_path / "payload.bin"
    torch.save({"x": Payload(tmp_path / "ran")}, path)
    (tmp_path / "payload.pkl").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    return path


ARGUMENTS = [
    {"checkpoint_path": "PAYLOAD"},
    {"pretrained_cfg": {"file": "PAYLOAD"}},
    {"pretrained_cfg_overlay": {"file": "PAYLOAD", "state_dict": None}},
    {"pretrained_cfg_overlay": {"hf_hub_id": "org/other", "source": "hf-hub"}},
    {"pretrained": False},
    {"features_only": True, "feature_cls": "fx"},
    {"cache_dir": "/tmp"},
    {"scriptable": True},
    {"exportable": True},
    {"no_jit": True},
    {"pruned": True},
    {"act_layer": "quick_gelu"},
    {"norm_layer": "torch.hub.load"},
    {"block_args": {"attn_layer": "x"}},
    {"model_cfg": {}},
    {"model_name": "vit"},
    {"kwargs": {}},
    {"num_classes": "7"},
    {"num_classes": True},
    {"num_classes": -1},
    {"num_classes": 10**12},
    {"num_classes": 9_999_999},
    {"in_chans": 0},
    {"in_chans": 10**6},
    {"img_size": 10**6},
    {"img_size": [64, 64, 64]},
    {"img_size": "64"},
    {"img_size": 64},
    {"global_pool": "../x"},
    {"global_pool": ["avg"]},
    {"drop_rate": 2},
    {"drop_rate": 1e400},
    {"mlp_ratio": "4"},
    {"class_token": 1},
    {"": 1},
    {"\x1b[2J": 1},
    {"__class__": 1},
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda found: str(found).translate({27: None}))
def test_no_other_argument_reaches_timm(
    publish: Publish, load: Load, payload: Path, tmp_path: Path, arguments: dict[str, object]
) -> None:
    text = json.dumps({**CONFIG, "model_args": arguments}).replace("PAYLOAD", str(payload))
    publish(text.encode())
    with pytest.raises(CheckpointError, match=r"config\.json of org/name: model_args|takes no|described as") as caught:
        load("hf:org/name")
    assert str(caught.value).isprintable()
    assert not (tmp_path / "ran").exists()


DESCRIPTIONS = [
    ("architecture", "hf-hub:org/other"),
    ("architecture", "hf_hub:org/other"),
    ("architecture", "local-dir:/tmp"),
    ("architecture", "timm/resnet10t"),
    ("architecture", "../resnet10t"),
    ("architecture", "resnet10t.c3_in1k"),
    ("architecture", "resnet10t?x"),
    ("architecture", "resnet10t\n"),
    ("architecture", "ｒesnet10t"),
    ("architecture", "nothing_of_that_name"),
    ("architecture", "vit_giant_patch14_224"),
    ("architecture", ["resnet10t"]),
    ("architecture", {}),
    ("architecture", None),
    ("architecture", ""),
    ("num_classes", 8.5),
    ("num_classes", "7"),
    ("pretrained_cfg", {**CFG, "mean": [float("nan")] * 3}),
    ("pretrained_cfg", {**CFG, "mean": [1e308] * 3}),
    ("pretrained_cfg", {**CFG, "mean": [0.5, 0.5]}),
    ("pretrained_cfg", {**CFG, "mean": "0.5"}),
    ("pretrained_cfg", {**CFG, "mean": [0.5] * 100_000}),
    ("pretrained_cfg", {**CFG, "std": [0, 0, 0]}),
    ("pretrained_cfg", {**CFG, "std": [-1, 1, 1]}),
    ("pretrained_cfg", {**CFG, "input_size": [3, 64]}),
    ("pretrained_cfg", {**CFG, "input_size": [3, -1, 64]}),
    ("pretrained_cfg", {**CFG, "input_size": [3, 10**9, 10**9]}),
    ("pretrained_cfg", {**CFG, "input_size": "3x64x64"}),
    ("pretrained_cfg", {**CFG, "label_offset": 5}),
    ("pretrained_cfg", [1]),
    ("pretrained_cfg", None),
    ("model_args", "checkpoint_path"),
    ("model_args", [["checkpoint_path", "x"]]),
]


@pytest.mark.parametrize(("name", "value"), DESCRIPTIONS, ids=str)
def test_a_description_that_is_none_is_refused_by_name(
    publish: Publish, load: Load, name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish({**CONFIG, name: value})
    with pytest.raises(CheckpointError, match=rf"config\.json of org/name: {name}|described as") as caught:
        load("hf:org/name")
    assert str(caught.value).isprintable()


def test_what_a_description_says_of_other_weights_is_not_read(
    publish: Publish, load: Load, payload: Path, tmp_path: Path, hub: Hub, weights: dict[str, torch.Tensor]
) -> None:
    extra: dict[str, object] = {
        "file": str(payload),
        "url": "http://127.0.0.1:1/x",
        "hf_hub_id": "org/other",
        "source": "hf-hub",
    }
    extra |= {"custom_load": "hf", "state_dict": {}, "hf_hub_filename": "payload.bin", "architecture": "vit"}
    labels = {"label_names": ["a" * 10_000] * 100, "label_descriptions": {"x": "\x1b"}, "tag": "../x", "license": 3}
    publish({**CONFIG, **labels, "pretrained_cfg": {**CFG, **extra, "classifier": "os.system", "first_conv": "x"}})
    loaded = load("hf:org/name").weights
    torch.testing.assert_close(loaded["conv1.0.weight"], weights["conv1.0.weight"])
    torch.testing.assert_close(loaded["fc.weight"], weights["fc.weight"])
    assert not (tmp_path / "ran").exists()
    assert not [path for path in hub.asked if "other" in path]


def test_a_pickle_of_a_repository_is_read_without_running_it(
    publish: Publish, load: Load, payload: Path, tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    publish(**{"pytorch_model.bin": payload.read_bytes()})
    with pytest.raises(CheckpointError, match="holds no weights"):
        load("hf:org/name")
    assert not (tmp_path / "ran").exists()
    torch.save(weights, tmp_path / "good.bin")
    publish(**{"pytorch_model.bin": (tmp_path / "good.bin").read_bytes()})
    torch.testing.assert_close(load("hf:org/healthy").weights["fc.weight"], weights["fc.weight"])


@pytest.mark.parametrize(
    "content",
    [b'{"error": "x"}', b"<html>", b"version https://git-lfs.github.com/spec/v1\noid", b"", b"PK\3\4half"],
)
def test_a_file_that_is_none_is_not_kept(
    publish: Publish, load: Load, cache: Path, content: bytes, weights: dict[str, torch.Tensor]
) -> None:
    publish(**{"model.safetensors": content})
    with pytest.raises(DownloadError, match=r"org/name on the Hugging Face Hub sent .* as model\.safetensors"):
        load("hf:org/name")
    assert not [path for path in cache.rglob("*") if path.is_file() and path.read_bytes() == content and content]
    publish()
    assert load("hf:org/name").sha256 == hashlib.sha256(save(weights)).hexdigest()


def test_a_file_damaged_in_the_cache_is_fetched_anew(
    publish: Publish, load: Load, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish()
    before = load("hf:org/name").sha256
    (snapshot,) = cache.rglob("model.safetensors")
    snapshot.resolve().write_bytes(snapshot.read_bytes()[:1000])
    (described,) = cache.rglob("config.json")
    described.resolve().write_bytes(b"<html>")
    with pytest.raises(DownloadError, match="is not in the cache"):
        load("hf:org/absent", offline=True)
    assert load("hf:org/name").sha256 == before
    said = [text for text in caplog.messages if "it is fetched anew" in text]
    assert len(said) == 2
    assert "a truncated or damaged safetensors file" in said[0]


@pytest.mark.parametrize(
    "revision", ["../../../../evil", "/etc/x", "..", "a/../b", "", "a b", "-x", "a\0b", "x/", "\x1b", "é", "a//b"]
)
def test_a_revision_that_leads_out_of_the_cache_is_refused(
    publish: Publish, load: Load, tmp_path: Path, hub: Hub, revision: str
) -> None:
    publish()
    with pytest.raises((DownloadError, CheckpointError), match=r"is no revision|is no source"):
        load(f"hf:org/name@{revision}")
    assert hub.asked == []
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("name", ["../x", "org/../x", "org/name/more", "/etc", "a\x1b/b", "a--b/..", "x" * 500])
def test_a_name_that_is_none_is_refused(load: Load, hub: Hub, name: str) -> None:
    with pytest.raises(DownloadError, match="is no repository's name") as caught:
        load(f"hf:{name}")
    assert str(caught.value).isprintable()
    assert hub.asked == []


@pytest.mark.parametrize("text", [b"[" * 100_000, b"{", b"\xff", b"9" * 5000, b'{"a": ' * 5000])
def test_a_description_that_is_no_json_is_told(publish: Publish, load: Load, text: bytes) -> None:
    publish(text)
    with pytest.raises(DownloadError, match=r"sent no JSON as config\.json"):
        load("hf:org/name")


def test_timm_never_fetches_or_opens_anything_itself(
    monkeypatch: pytest.MonkeyPatch, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("reached")

    for module, name in (
        (timm.models._builder, "load_state_dict_from_url"),
        (timm.models._builder, "load_state_dict_from_hf"),
        (timm.models._builder, "load_custom_from_hf"),
        (timm.models._builder, "load_state_dict"),
        (timm.models._factory, "load_checkpoint"),
        (torch, "load"),
        (socket, "create_connection"),
    ):
        monkeypatch.setattr(module, name, forbidden)
    create(ARCHITECTURE, weights, tmp_path / "w.pt", num_classes=7)
    with pytest.raises(CheckpointError, match="holds no weights"):
        create(ARCHITECTURE, {}, tmp_path / "w.pt")  # timm would take those of its own record


def test_an_unknown_tag_of_timm_s_is_told(load: Load) -> None:
    with pytest.raises(CheckpointError, match=r"timm has no weights 'resnet10t\.nope'; it has resnet10t\.c3_in1k"):
        load("timm:resnet10t.nope")


@pytest.mark.parametrize(
    "name", ["vit_base_patch16_224", "swin_tiny_patch4_window7_224", "convnext_tiny", "beit_base_patch16_224"]
)
def test_a_network_of_the_right_size_passes_and_no_memory_is_taken(name: str, tmp_path: Path) -> None:
    values = timm.create_model("resnet10t").state_dict()
    with pytest.raises(CheckpointError, match=f"described as timm's {name}, which has"):
        check_size(name, values, tmp_path / "w.pt")
    outline = {"w": torch.empty(90_000_000, device="meta")}
    check_size(name, outline, tmp_path / "w.pt")
