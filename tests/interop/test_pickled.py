"""``pytorch_model.bin``: tensors come in as from safetensors, in one file or several, and nothing that is no tensor is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import checkpoints as made
import pytest
import torch
from safetensors.torch import load_file, save_file

import components
from components.cli import main
from components.core.errors import UserError
from components.interop.files import Tensors

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return made.llama(tmp_path_factory.mktemp("sound") / "theirs")


@pytest.fixture
def pickled(sound, tmp_path):
    """(a folder with the same weights pickled, the weights)."""
    folder = Path(shutil.copytree(sound, tmp_path / "theirs"))
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    return folder, weights


def logits(place):
    with torch.no_grad():
        return components.load(place).model(torch.arange(12)[None])


@pytest.mark.parametrize("files", [1, 3])
def test_a_pickled_checkpoint_is_read_as_the_other(files, sound, pickled, tmp_path):
    folder, weights = pickled
    if files > 1:
        names = sorted(weights)
        parts = {f"pytorch_model-{i}.bin": names[i::files] for i in range(files)}
        (folder / "pytorch_model.bin").unlink()
        for file, held in parts.items():
            torch.save({n: weights[n] for n in held}, folder / file)
        index = {"weight_map": {n: file for file, held in parts.items() for n in held}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    read, right = Tensors(folder), Tensors(sound)
    assert read.names == right.names
    assert all((read.shape(n), read.dtype(n)) == (right.shape(n), right.dtype(n)) for n in right.names)
    assert main(["import", str(folder), "--to", str(tmp_path / "run")]) == 0
    assert torch.equal(logits(tmp_path / "run"), logits(sound))


def test_safetensors_go_first(pickled):
    folder, weights = pickled
    name = min(weights)
    save_file({name: weights[name] + 1}, folder / "model.safetensors")
    assert Tensors(folder).names == {name}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1, 2], "something else than tensors by name"),
        ({"model": {"a": torch.zeros(2)}}, "something else than tensors by name"),
        ({"a": Path("x")}, "which could run code when read"),
    ],
)
def test_what_is_no_tensor_is_refused(content, says, pickled):
    folder, _ = pickled
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=says):
        Tensors(folder)


def test_a_damaged_and_an_older_file_are_told(pickled):
    folder, weights = pickled
    file = folder / "pytorch_model.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"is damaged, or older than torch 1\.6"):
        Tensors(folder)
    torch.save(weights, file, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"is damaged, or older than torch 1\.6"):
        Tensors(folder)
    file.rename(folder / "weights.pt")
    with pytest.raises(UserError, match=r"there is weights\.pt, and of pickles pytorch_model\.bin alone is read"):
        Tensors(folder)
