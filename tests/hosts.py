"""A small model around any part: how the common tests give each registered part a place to work in."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from components import build
from components.check.small import AROUND, SMALL
from components.index import static_entries
from components.sockets import Batch

VOCAB, WIDTH, LENGTH = 40, 32, 12
# kind -> how a decoder is told to use the part; kinds that no decoder has a socket for have tests of their own
SOCKETS = ("embedding", "position", "attention", "ffn", "norm", "block", "residual", "stack", "head", "init")
# kinds that stand inside another part: which, and what it is told to be
INSIDE = {
    "mask": ("attention", {"name": "gqa", "n_heads": 4, "n_kv_heads": 2}),
    "gate": ("attention", {"name": "gqa", "n_heads": 4, "n_kv_heads": 2}),
    "value": ("attention", {"name": "gqa", "n_heads": 4, "n_kv_heads": 2}),
    "sharing": ("attention", {"name": "gqa", "n_heads": 4, "n_kv_heads": 2}),
    "scaling": ("position", {"name": "rope"}),
    "router": ("ffn", {"name": "moe", "n_experts": 4}),
    "pooling": ("head", {"name": "classification"}),
}
# SMALL and AROUND now live in src/components/check/small.py: add the line for your part there


def parts(*kinds: str) -> list[str]:
    """``kind/name`` of every registered part of these kinds; a kind without parts is an error of the test."""
    # what is installed, not what other test modules registered in this process
    found = [f"{kind}/{name}" for kind in kinds for known, name in sorted(static_entries()) if known == kind]
    assert all(any(f.startswith(f"{kind}/") for f in found) for kind in kinds), kinds
    return found


HOSTED = [
    p
    for p in parts(*SOCKETS, *(k for k in INSIDE if any(known == k for known, _ in static_entries())))
    if p.split("/")[0] in (*SOCKETS, "mask", "gate", "value", "sharing", "scaling", "router")
]


def decoder(part: str = "", **options: Any) -> nn.Module:
    """A two-layer decoder with ``part`` in its socket, in eval mode."""
    kind, _, name = part.partition("/")
    sizes = {"vocab_size": VOCAB, "d_model": WIDTH, "n_layers": 2, "context_length": LENGTH}
    chosen: dict[str, Any] = {"attention": {"name": "gqa", "n_heads": 4, "n_kv_heads": 2}}
    node = {"name": name, **SMALL.get(part, {})}
    if kind in INSIDE:
        socket, host = INSIDE[kind]
        chosen[socket] = {**host, kind: node}
    elif kind:
        chosen[kind] = node
    return build("model", "decoder", **{**sizes, **chosen, **AROUND.get(part, {}), **options}).eval()


def scramble(model: nn.Module, std: float = 0.1, seed: int = 1) -> nn.Module:
    """Every parameter redrawn, so that zeros and ones of the first values hide nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.empty(p.shape).normal_(0.0, std, generator=generator))
    return model


def ids(rows: int = 2, length: int = LENGTH, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


def batch_of(values: torch.Tensor, **changes: Any) -> Batch:
    return Batch(values, **changes)
