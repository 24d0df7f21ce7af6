"""The files of a checkpoint's folder, one or several with an index, memory-mapped: safetensors, or pickled tensors where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from components.core.content import read_mapping
from components.core.errors import UserError
from components.core.files import regular, write_json
from components.interop.pickled import PICKLE, PICKLES, Pickled

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
SHARD_BYTES = 5 * 10**9


class Readable(Protocol):
    """Tensors of a checkpoint by their names: what ``Tensors`` offers, and whatever stands before it."""

    @property
    def names(self) -> set[str]: ...
    @property
    def bytes(self) -> int: ...
    def shape(self, name: str) -> tuple[int, ...]: ...
    def dtype(self, name: str) -> str: ...
    def __getitem__(self, name: str) -> Tensor: ...


class Tensors:
    """Tensors by name, each read on demand. ``names`` needs no reading. ``only``: of this one file, not of the model's.

    Each tensor is a mapping of its own, so it takes memory only as long as it is used.
    """

    def __init__(self, folder: Path, *, only: str | None = None) -> None:
        self.folder = folder
        self._files = {file: _open(folder / file) for file in ([only] if only else _files(folder))}
        self._where = {name: file for file, opened in self._files.items() for name in opened.keys()}  # noqa: SIM118  no mapping

    note = ""  # nothing is done to the numbers

    @property
    def names(self) -> set[str]:
        return set(self._where)

    @property
    def bytes(self) -> int:
        """The size of all files together."""
        return sum((self.folder / file).stat().st_size for file in self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._files[self._where[name]].get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """The dtype as safetensors writes it: ``F32``, ``BF16``, ``I8``."""
        return str(self._files[self._where[name]].get_slice(name).get_dtype())

    def __getitem__(self, name: str) -> Tensor:
        file = self._where[name]
        opened = self._files[file]
        return (opened if isinstance(opened, Pickled) else _open(self.folder / file)).get_tensor(name)


def _files(folder: Path) -> list[str]:
    for index, single in ((INDEX, SINGLE), (PICKLES, PICKLE)):
        if (folder / index).exists():
            return _listed(folder, index)
        if (folder / single).exists():
            return [single]
        others = sorted(f.name for f in folder.glob("*.safetensors"))
        if others:
            return others
    pickled = sorted(f.name for pattern in ("*.bin", "*.pt", "*.pth") for f in folder.glob(pattern))
    found = f"there is {', '.join(pickled)}, and of pickles {PICKLE} alone is read" if pickled else "no *.safetensors there"
    raise UserError(str(folder), f"no weights: {found}", "take the safetensors version of the checkpoint")


def _listed(folder: Path, index: str) -> list[str]:
    """The files that an index names."""
    named = read_json(folder / index).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(f, str) for f in named.values()):
        raise UserError(str(folder / index), "has no weight_map from names to files", "fetch it again")
    files = sorted(set(named.values()))
    if outside := [f for f in files if Path(f).name != f]:
        raise UserError(str(folder / index), f"names {outside[0]}, outside of the folder", "fetch it again")
    if missing := [f for f in files if not (folder / f).exists()]:
        raise UserError(str(folder), f"{index} names {', '.join(missing)}, which is not there", "fetch the whole folder")
    return files


def _open(file: Path) -> Any:
    if file.suffix == ".bin":
        return Pickled(file)
    regular(file)  # reading a pipe could wait for ever
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError, MemoryError) as e:
        raise UserError(str(file), f"is damaged or no safetensors file ({str(e).splitlines()[0]})", "fetch it again") from None


def read_json(file: Path) -> dict[str, Any]:
    """The mapping in a JSON file, plain. UserError if it is not there, no file, or holds anything else."""
    if not file.exists():
        raise UserError(str(file), "is not there", "name a folder with config.json and *.safetensors")
    return read_mapping(file)


def write(tensors: dict[str, Tensor], folder: Path, *, shard_bytes: int = SHARD_BYTES) -> list[str]:
    """``tensors`` as safetensors, in as many files as ``shard_bytes`` ask for, with an index if there are several; the files' names."""
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if shards[-1] and filled + size > shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor.contiguous()
        filled += size
    if len(shards) == 1:
        save(shards[0], folder / SINGLE)
        return [SINGLE]
    files = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for file, shard in zip(files, shards, strict=True):
        save(shard, folder / file)
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": {n: f for f, s in zip(files, shards, strict=True) for n in s}}
    write_json(folder / INDEX, index)
    return [*files, INDEX]


def save(tensors: dict[str, Tensor], file: Path) -> None:
    """One safetensors file. UserError if it cannot be written."""
    try:
        save_file(tensors, file, metadata={"format": "pt"})
    except (OSError, SafetensorError) as e:  # a full disk is an error of the library's own
        raise UserError(
            str(file), f"cannot be written ({str(e).splitlines()[0]})", "make room, or name another place"
        ) from None


def meta(shape: torch.Size | tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")
