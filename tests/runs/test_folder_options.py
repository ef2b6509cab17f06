"""An option that names a folder or images is keyed by what these hold, and not by where they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from filterlens.catalogs import Entry
from filterlens.lens import RunSettings, get_lens
from filterlens.lenses.corruption.options import CorruptionOptions
from filterlens.lenses.flatness.options import FlatnessOptions
from filterlens.runs.keys import Key, Keys


def key_of(tmp_path: Path, folder: str) -> Key:
    torch.save({"a.weight": torch.zeros(2, 2)}, tmp_path / "small.pt")
    entry = Entry(model_id="small", source="small.pt", dataset="")
    keys = Keys(tmp_path, RunSettings())
    return keys.key(entry, get_lens("corruption"), CorruptionOptions(corrupted=folder))


def test_a_folder_is_known_by_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    np.save(folder / "fog.npy", np.zeros(3))
    first = key_of(tmp_path, str(folder))
    moved = folder.rename(tmp_path / "elsewhere")
    assert str(key_of(tmp_path, str(moved))) == str(first)
    np.save(moved / "fog.npy", np.ones(3))
    changed = key_of(tmp_path, str(moved))
    assert str(changed) != str(first)
    assert str(key_of(tmp_path, "")) != str(changed)
    assert first.notes == changed.notes == ()


def test_of_subfolders_the_names_count_and_a_note_says_that_their_files_do_not(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    (folder / "fog" / "1").mkdir(parents=True)
    first = key_of(tmp_path, str(folder))
    assert first.notes == (f"{folder}: what its subfolders hold is not part of the key",)
    (folder / "snow").mkdir()
    assert str(key_of(tmp_path, str(folder))) != str(first)


def test_training_images_are_known_by_what_they_are(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(2, 2)}, tmp_path / "small.pt")
    entry = Entry(model_id="small", source="small.pt", dataset="")

    def key(data: str) -> str:
        return str(Keys(tmp_path, RunSettings()).key(entry, get_lens("flatness"), FlatnessOptions(train_data=data)))

    path = tmp_path / "train.npz"
    np.savez(path, images=np.zeros((2, 4, 4), dtype=np.uint8), labels=np.zeros(2, dtype=np.int64))
    first = key(str(path))
    path.rename(tmp_path / "moved.npz")
    assert key(str(tmp_path / "moved.npz")) == first
    np.savez(path, images=np.ones((2, 4, 4), dtype=np.uint8), labels=np.zeros(2, dtype=np.int64))
    assert len({first, key(str(path)), key(""), key("fonts"), key("nowhere")}) == 5
