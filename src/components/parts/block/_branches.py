"""What the blocks have in common: their branches, each with its norms and its residual, made from the same sockets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from components.core.sockets import INHERIT, SequenceInfo, make


def add_branches(
    block: nn.Module, sizes: dict[str, Any], makers: dict[str, Any], names: Sequence[str] = ("attention", "cross", "ffn")
) -> list[str]:
    """Give ``block`` the modules of ``names``, cross only with a memory; returns their names in order.

    Each with a ``<name>_residual`` beside it, and with ``<name>_norm`` and ``<name>_output_norm`` where ``makers`` has one of that name.
    A branch whose part says ``absent`` (``ffn/none``) is left out with all that goes with it.
    """
    made: list[str] = []
    for name in names:
        if name == "cross" and sizes.get("d_memory") is None:
            continue
        offers = {
            k: v for k, v in sizes.items() if k != "d_memory" or name == "cross"
        }  # only the second attention reads the memory
        branch = make(makers[name], "ffn" if name.endswith("ffn") else "attention", **offers)
        if branch.absent:
            continue
        setattr(block, name, branch)
        for norm in (f"{name}_norm", f"{name}_output_norm"):
            if norm in makers:
                chosen = makers["norm"] if makers[norm] == INHERIT else makers[norm]  # without `make`, nobody has resolved it
                setattr(block, norm, make(chosen, "norm", dim=sizes["d_model"]))
        setattr(block, f"{name}_residual", make(makers["residual"], "residual", **{k: sizes[k] for k in ("d_model", "place")}))
        made.append(name)
    return made


def reads(block: nn.Module, names: Sequence[str], s: Tensor) -> list[Tensor]:
    """What each branch reads of the same stream, through its own residual."""
    return [getattr(block, f"{name}_residual").read(s) for name in names]


def write_all(block: nn.Module, names: Sequence[str], inputs: Sequence[Tensor], s: Tensor, info: SequenceInfo) -> Tensor:
    """Every branch computed from its own input before the first is written; then they are written one after the other."""
    outputs = [getattr(block, name)(x, info) for name, x in zip(names, inputs, strict=True)]
    for name, y in zip(names, outputs, strict=True):
        s = getattr(block, f"{name}_residual").write(s, y)
    return s
