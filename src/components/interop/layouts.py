"""Layouts of tensors in a checkpoint. Each splits their tensors into ours and joins ours into theirs; the two are inverses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from components.core.errors import UserError


@runtime_checkable
class Layout(Protocol):
    def split(self, theirs: Sequence[Tensor], ours: Sequence[torch.Size]) -> list[Tensor]:
        """Their tensors split into ours, which have the shapes ``ours``."""
        ...

    def join(self, ours: Sequence[Tensor]) -> list[Tensor]:
        """Our tensors joined into theirs. On meta tensors this gives the shapes that theirs must have."""
        ...


@dataclass(frozen=True)
class Same:
    """One tensor, as it is."""

    def split(self, theirs: Sequence[Tensor], ours: Sequence[torch.Size]) -> list[Tensor]:  # noqa: ARG002
        return list(theirs)

    def join(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return list(ours)


@dataclass(frozen=True)
class Transposed:
    """A matrix kept (in, out) where ``nn.Linear`` keeps (out, in), as GPT-2's Conv1D does. A vector stays."""

    def split(self, theirs: Sequence[Tensor], ours: Sequence[torch.Size]) -> list[Tensor]:  # noqa: ARG002
        return [t.t() if t.dim() == 2 else t for t in theirs]

    def join(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [t.t() if t.dim() == 2 else t for t in ours]


@dataclass(frozen=True)
class Rows:
    """Several of ours below one another in one of theirs: ``[q; k; v]`` (GPT-2, MPT, Phi-3), ``[gate; up]``. ``transposed``: side by side."""

    transposed: bool = False

    def split(self, theirs: Sequence[Tensor], ours: Sequence[torch.Size]) -> list[Tensor]:
        (whole,) = theirs
        whole = whole.t() if self.transposed and whole.dim() == 2 else whole
        return list(whole.split([s[0] for s in ours]))

    def join(self, ours: Sequence[Tensor]) -> list[Tensor]:
        whole = torch.cat(list(ours))
        return [whole.t() if self.transposed and whole.dim() == 2 else whole]


@dataclass(frozen=True)
class PerHead:
    """Queries, keys and values interleaved head by head: for each head of keys its queries, then its key, then its value.

    GPT-NeoX and BLOOM with as many keys as queries, Falcon with fewer. ``head_dim``: rows of one head.
    """

    head_dim: int

    def split(self, theirs: Sequence[Tensor], ours: Sequence[torch.Size]) -> list[Tensor]:
        (whole,) = theirs
        groups = ours[1][0] // self.head_dim
        rest = whole.shape[1:]
        grouped = whole.reshape(groups, -1, self.head_dim, *rest)
        return [p.reshape(-1, *rest) for p in (grouped[:, :-2], grouped[:, -2:-1], grouped[:, -1:])]

    def join(self, ours: Sequence[Tensor]) -> list[Tensor]:
        q, k, v = ours
        groups, rest = k.shape[0] // self.head_dim, k.shape[1:]
        parts = [t.reshape(groups, -1, self.head_dim, *rest) for t in (q, k, v)]
        return [torch.cat(parts, 1).reshape(-1, *rest)]


@dataclass(frozen=True)
class Chunks:
    """Ours in turn within each block of rows: for each of ``blocks`` blocks its rows of the first, of the second, ...

    Qwen3-Next's ``[q | gate]`` per head: two of ours, one block a head.
    """

    blocks: int

    def split(self, theirs: Sequence[Tensor], ours: Sequence[torch.Size]) -> list[Tensor]:
        (whole,) = theirs
        rest = whole.shape[1:]
        grouped = whole.reshape(self.blocks, -1, *rest)
        parts = grouped.split([s[0] // self.blocks for s in ours], 1)
        return [p.reshape(-1, *rest) for p in parts]

    def join(self, ours: Sequence[Tensor]) -> list[Tensor]:
        rest = ours[0].shape[1:]
        return [torch.cat([t.reshape(self.blocks, -1, *rest) for t in ours], 1).reshape(-1, *rest)]


@dataclass(frozen=True)
class Experts:
    """One matrix (out, in) for each expert in theirs, one stack (E, in, out) in ours. Vectors (out,) become (E, out)."""

    def split(self, theirs: Sequence[Tensor], ours: Sequence[torch.Size]) -> list[Tensor]:  # noqa: ARG002
        return [torch.stack([t.t() if t.dim() == 2 else t for t in theirs])]

    def join(self, ours: Sequence[Tensor]) -> list[Tensor]:
        (stack,) = ours
        return [t.t() if t.dim() == 2 else t for t in stack.unbind()]


@dataclass(frozen=True)
class FusedExperts:
    """All experts in one tensor of theirs, several of ours side by side in its last axis, as gate and up.

    Args:
        transposed: theirs is (E, out, in), ours (E, in, out); else both are (E, in, out).
        alternating: columns in turn (gate, up, gate, up, ...) instead of one after another (gpt-oss).
    """

    transposed: bool = False
    alternating: bool = False

    def split(self, theirs: Sequence[Tensor], ours: Sequence[torch.Size]) -> list[Tensor]:
        (whole,) = theirs
        whole = whole.transpose(1, 2) if self.transposed and whole.dim() == 3 else whole
        if self.alternating:
            return [whole[..., i :: len(ours)] for i in range(len(ours))]
        return list(whole.split([s[-1] for s in ours], -1))

    def join(self, ours: Sequence[Tensor]) -> list[Tensor]:
        whole = torch.stack(list(ours), -1).flatten(-2) if self.alternating else torch.cat(list(ours), -1)
        return [whole.transpose(1, 2) if self.transposed and whole.dim() == 3 else whole]


@dataclass(frozen=True)
class Reshaped:
    """The same numbers in another shape, as a convolution's (channels, 1, width) for our (channels, width). ``shape``: theirs, -1 for ours' first axis."""

    shape: tuple[int, ...]

    def split(self, theirs: Sequence[Tensor], ours: Sequence[torch.Size]) -> list[Tensor]:
        return [t.reshape(s) for t, s in zip(theirs, ours, strict=True)]

    def join(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [
            t.reshape(
                [t.shape[0] if n == -1 else n for n in self.shape[:-1]]
                + [t.shape[-1] if self.shape[-1] == -1 else self.shape[-1]]
            )
            for t in ours
        ]


@dataclass(frozen=True)
class Convolutions:
    """Several of our depthwise convolutions (channels, width) below one another in one of theirs, (channels, 1, width)."""

    def split(self, theirs: Sequence[Tensor], ours: Sequence[torch.Size]) -> list[Tensor]:
        (whole,) = theirs
        return list(whole.squeeze(1).split([s[0] for s in ours]))

    def join(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [torch.cat(list(ours)).unsqueeze(1)]


@dataclass(frozen=True)
class Flat:
    """One row of numbers in theirs, of any shape in ours: a norm's scale for each group."""

    def split(self, theirs: Sequence[Tensor], ours: Sequence[torch.Size]) -> list[Tensor]:
        return [t.reshape(s) for t, s in zip(theirs, ours, strict=True)]

    def join(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [t.flatten() for t in ours]


@dataclass(frozen=True)
class SwappedHalves:
    """The two halves of each head's rows in each other's place: what turns one way in theirs turns the other way in ours (nanochat).

    ``head_dim``: rows of one head.
    """

    head_dim: int

    def split(self, theirs: Sequence[Tensor], ours: Sequence[torch.Size]) -> list[Tensor]:  # noqa: ARG002
        return self.join(theirs)

    def join(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [t.reshape(-1, 2, self.head_dim // 2, *t.shape[1:]).flip(1).reshape(t.shape) for t in ours]


@dataclass(frozen=True)
class Paired:
    """Of each head's rows the first ``turned`` in another order: the two halves of what is rotated in theirs, neighbours in ours (DeepSeek's indexer).

    ``head_dim``: rows of one head.
    """

    head_dim: int
    turned: int

    def order(self) -> Tensor:
        """Where the rows of theirs stand in ours."""
        even = torch.arange(0, self.turned, 2)
        return torch.cat((even, even + 1, torch.arange(self.turned, self.head_dim)))

    def split(self, theirs: Sequence[Tensor], ours: Sequence[torch.Size]) -> list[Tensor]:  # noqa: ARG002
        order = self.order().argsort()
        return [t.reshape(-1, self.head_dim, *t.shape[1:])[:, order].reshape(t.shape) for t in theirs]

    def join(self, ours: Sequence[Tensor]) -> list[Tensor]:
        order = self.order()
        return [t.reshape(-1, self.head_dim, *t.shape[1:])[:, order].reshape(t.shape) for t in ours]


@dataclass(frozen=True)
class Beside:
    """One tensor, and beside it single numbers in their files that are no choice here (the constants of Apertus' activation).

    ``values``: those that their class computes with.
    """

    values: tuple[float, ...]

    def split(self, theirs: Sequence[Tensor], ours: Sequence[torch.Size]) -> list[Tensor]:  # noqa: ARG002
        found = [t.item() for t in theirs[1:]]
        for value, wanted in zip(found, self.values, strict=True):
            if not math.isclose(value, wanted, rel_tol=0.01):  # they are rounded as the file's dtype is
                raise UserError(
                    "a constant in the files", f"is {value:g}, and only {wanted:g} is known", "such a model cannot be read here"
                )
        return [theirs[0]]

    def join(self, ours: Sequence[Tensor]) -> list[Tensor]:
        (one,) = ours
        return [one, *(one.new_tensor(v) for v in self.values)]
