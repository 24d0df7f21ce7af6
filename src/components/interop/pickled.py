"""``pytorch_model.bin``, the older form of a checkpoint: a pickle. Tensors are read of it and nothing else, so no code of it is run.

It is torch's own reader under ``weights_only``, which knows a fixed list of names that a pickle may call.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from components.core.errors import UserError
from components.core.files import regular
from components.core.number_types import DTYPES

PICKLE, PICKLES = "pytorch_model.bin", "pytorch_model.bin.index.json"


class Slice:
    """Shape and dtype of a tensor, as safetensors tells them before it is read."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def get_shape(self) -> list[int]:
        return list(self.tensor.shape)

    def get_dtype(self) -> str:
        return DTYPES.get(self.tensor.dtype, str(self.tensor.dtype))


class Pickled:
    """A file of pickled tensors, with the methods of an open safetensors file.

    It is mapped as a whole, and what was read of it stays in memory as long as the mapping does. So it is mapped anew after each 32nd part of it: more often
    would take longer, since all names are read each time.

    Raises:
        UserError: the file is damaged, or holds anything beside tensors by name.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.tensors, self.read = mapped(file), 0

    def keys(self) -> list[str]:
        return list(self.tensors)

    def get_slice(self, name: str) -> Slice:
        return Slice(self.tensors[name])

    def get_tensor(self, name: str) -> Tensor:
        if 32 * self.read > self.file.stat().st_size:
            self.tensors, self.read = mapped(self.file), 0
        tensor = self.tensors[name].detach().contiguous()
        self.read += tensor.nbytes
        return tensor


def mapped(file: Path) -> dict[str, Tensor]:
    """The tensors of a pickled file, none of them read yet."""
    regular(file)  # reading a pipe could wait for ever
    instead = "take the safetensors version of the checkpoint"
    try:
        held = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as e:  # torch raises errors of many kinds for damaged and foreign files
        said = str(e).lower()
        if "weights_only" in said or "unsupported" in said:
            what = "holds pickled objects that are no tensors, which could run code when read"
            raise UserError(str(file), what, instead) from None
        raise UserError(str(file), f"is damaged, or older than torch 1.6 ({type(e).__name__})", instead) from None
    if not isinstance(held, dict) or not all(isinstance(n, str) and isinstance(t, Tensor) for n, t in held.items()):
        raise UserError(str(file), "holds something else than tensors by name", instead)
    return {n: t for n, t in held.items() if t.layout == torch.strided}
