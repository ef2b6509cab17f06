"""CIFAR in its published formats, on files made here."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filterlens.errors import DownloadError, InputError
from filterlens.inputs import cifar, load_images
from filterlens.inputs.cifar import DATASETS
from filterlens.process import interruption

RNG = np.random.default_rng(0)
ROWS = RNG.integers(0, 256, (8, 3072), dtype=np.uint8)
LABELS = np.arange(8)


def batch(key: str, **changes: Any) -> bytes:
    return pickle.dumps({"data": ROWS, key: LABELS.tolist(), "filenames": ["a.png"] * 8} | changes, protocol=2)


def pickled(folder: Path, name: str = "cifar10", content: bytes | None = None) -> Path:
    form = DATASETS[name]
    target = folder / form.folder / form.files["test"][0]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(batch(form.key) if content is None else content)
    return target


def archive(folder: Path, name: str, content: bytes, **info: Any) -> Path:
    form = DATASETS[name]
    path = folder / Path(form.url).name
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(f"{form.folder}/{form.files['test'][0]}")
        member.size = len(content)
        for key, value in info.items():
            setattr(member, key, value)
        tar.addfile(member, io.BytesIO(content))
    return path


def check(found: Any, n: int) -> None:
    np.testing.assert_array_equal(found.pixels, ROWS[:n].reshape(n, 3, 32, 32).astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(found.labels, LABELS[:n])


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_pickled_batches_binary_files_and_the_archive_hold_the_same(tmp_path: Path, name: str) -> None:
    form = DATASETS[name]
    pickled(tmp_path / "pickled", name)
    check(load_images(name, 5, cache=tmp_path / "pickled"), 5)
    check(load_images(str(tmp_path / "pickled" / form.folder), 5), 5)

    binary = tmp_path / "binary" / form.binary / f"{form.files['test'][0]}.bin"
    binary.parent.mkdir(parents=True)
    labels = np.stack([LABELS * 0 + 7, LABELS], axis=1)[:, -form.label_bytes :].astype(np.uint8)
    binary.write_bytes(np.concatenate([labels, ROWS], axis=1).tobytes())
    check(load_images(name, 5, cache=tmp_path / "binary"), 5)

    (tmp_path / "archive").mkdir()
    archive(tmp_path / "archive", name, batch(form.key))
    check(load_images(name, 100, cache=tmp_path / "archive"), 8)
    assert len(list((tmp_path / "archive").iterdir())) == 1


def test_one_folder_may_hold_both_data_sets(tmp_path: Path) -> None:
    pickled(tmp_path, "cifar10")
    pickled(tmp_path, "cifar100")
    assert load_images("cifar100", 2, cache=tmp_path).name == "cifar100"
    assert load_images(str(tmp_path), 2, dataset="cifar100").name == "cifar100"


def test_the_train_split_goes_on_in_the_next_file(tmp_path: Path) -> None:
    folder = tmp_path / DATASETS["cifar10"].folder
    folder.mkdir()
    for i in (1, 2):
        (folder / f"data_batch_{i}").write_bytes(batch("labels", data=ROWS // i))
    found = load_images("cifar10", 12, cache=tmp_path, split="train")
    np.testing.assert_array_equal(found.labels, [*range(8), *range(4)])
    with pytest.raises(InputError, match="cifar10 has the splits test, train, not 'valid'"):
        load_images("cifar10", 12, cache=tmp_path, split="valid")


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("was-run"),)


def test_a_batch_that_would_run_code_is_refused_and_runs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickled(tmp_path, content=batch("labels", data=Bomb()))
    with pytest.raises(
        InputError,
        match="which no CIFAR batch holds; it was not run",
    ):
        load_images("cifar10", 3, cache=tmp_path)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as a CIFAR batch .it ends too early.: it is damaged"),
        (batch("labels")[:500], "cannot be read as a CIFAR batch"),
        (b"<html>", "cannot be read as a CIFAR batch"),
        (pickle.dumps([1]), "cannot be read as a CIFAR batch .it holds no dictionary."),
        (pickle.dumps({"data": ROWS}), "cannot be read as a CIFAR batch .it holds no array 'labels'."),
        (batch("labels", data=ROWS[:, :100]), r"pixels are uint8 of shape \(8, 100\); expected uint8 \(n, 3072\)"),
        (batch("labels", data=ROWS / 2), "pixels are float64"),
        (batch("labels", labels=[3] * 7), "holds 8 images but 7 labels"),
        (batch("labels", labels=[10] * 8), "label 10 is no class of cifar10"),
    ],
)
def test_a_damaged_batch_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    pickled(tmp_path, content=content)
    with pytest.raises(InputError, match=message):
        load_images("cifar10", 8, cache=tmp_path)


def test_a_binary_file_of_another_length_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / DATASETS["cifar10"].binary
    folder.mkdir()
    (folder / "test_batch.bin").write_bytes(bytes(3074))
    with pytest.raises(InputError, match="has 3074 bytes, no multiple of 3073: it is damaged"):
        load_images("cifar10", 8, cache=tmp_path)


def test_a_folder_without_the_split_says_what_it_looked_for(tmp_path: Path) -> None:
    (tmp_path / DATASETS["cifar10"].folder).mkdir()
    with pytest.raises(InputError, match="holds neither cifar-10-batches-py/test_batch nor"):
        load_images("cifar10", 8, cache=tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.FIFOTYPE])
def test_an_archive_s_member_that_is_no_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    archive(tmp_path, "cifar10", b"", type=kind, linkname="/etc/passwd")
    with pytest.raises(InputError, match="is no plain file of credible size"):
        load_images("cifar10", 8, cache=tmp_path)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path, "cifar10", batch("labels"))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"cannot be read .* it is downloaded again"):
        load_images("cifar10", 8, cache=tmp_path)


def served(monkeypatch: pytest.MonkeyPatch, path: Path, md5: str = "") -> None:
    """Let the data set come from a local file."""
    form = replace(DATASETS["cifar10"], url=path.as_uri(), md5=md5 or hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setitem(cifar.DATASETS, "cifar10", form)


def test_a_missing_data_set_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "web").mkdir()
    source = archive(tmp_path / "web", "cifar10", batch("labels"))
    served(monkeypatch, source)
    check(load_images("cifar10", 8, cache=tmp_path / "cache"), 8)
    source.unlink()
    check(load_images("cifar10", 8, cache=tmp_path / "cache"), 8)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [source.name]


def test_a_download_that_is_something_else_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "cifar-10-python.tar.gz"
    page.write_text("<html>")
    served(monkeypatch, page, md5="0" * 32)
    with pytest.raises(DownloadError, match=r"gave another file than expected .* put cifar-10-python\.tar\.gz"):
        load_images("cifar10", 8, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_signal_during_a_download_removes_its_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "web").mkdir()
    served(monkeypatch, archive(tmp_path / "web", "cifar10", batch("labels")))
    registered: list[set[Path]] = []
    original = cifar.commit_file  # type: ignore[attr-defined]  # to be replaced

    def commit(temporary: Path, target: Path) -> None:
        registered.append(set(interruption._State.temporary))
        assert temporary.parent == target.parent
        original(temporary, target)

    monkeypatch.setattr(cifar, "commit_file", commit)
    load_images("cifar10", 8, cache=tmp_path / "cache")
    assert any(path.parent == tmp_path / "cache" for path in registered[0])
    assert not any(path.parent == tmp_path / "cache" for path in interruption._State.temporary)


def test_without_a_network_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cifar.DATASETS, "cifar10", replace(DATASETS["cifar10"], url="http://127.0.0.1:9/x.tar.gz"))
    with pytest.raises(DownloadError, match=r"could not be downloaded .* by hand, or give its folder with --data"):
        load_images("cifar10", 8, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
