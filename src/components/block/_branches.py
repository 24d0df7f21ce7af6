"""What the blocks have in common: their branches, each with its norm and its residual, made from the same sockets."""

from __future__ import annotations

from typing import Any

from torch import nn

from components.sockets import make


def add_branches(block: nn.Module, sizes: dict[str, Any], makers: dict[str, Any]) -> list[str]:
    """Give ``block`` the modules attention, cross (only with a memory) and ffn; returns their names in order.

    Each with ``<name>_norm`` and ``<name>_residual`` beside it, where ``makers`` has a norm and a residual.
    """
    names = ["attention", *(["cross"] if sizes.get("d_memory") is not None else []), "ffn"]
    for name in names:
        kind = "ffn" if name == "ffn" else "attention"
        offers = dict(sizes)
        if name == "attention":
            offers.pop("d_memory", None)  # only the second attention reads the memory
        setattr(block, name, make(makers[name], kind, **offers))
        if "norm" in makers:
            setattr(block, f"{name}_norm", make(makers["norm"], "norm", dim=sizes["d_model"]))
        setattr(block, f"{name}_residual", make(makers["residual"], "residual", **{k: sizes[k] for k in ("d_model", "place")}))
    return names
