"""A small model around any part, for tests of the parts' own; the common tests have theirs in ``components.check``.

Options with which a part shows itself at 12 positions, and what it needs around it, stand in src/components/check/small.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from components import build
from components.check.host import INSIDE, LENGTH, SOCKETS, VOCAB, WIDTH, Host, ids, scramble
from components.check.subject import subject_of
from components.core.registry import static_entries
from components.core.sockets import Batch

__all__ = ["INSIDE", "LENGTH", "SOCKETS", "VOCAB", "WIDTH", "batch_of", "decoder", "ids", "parts", "scramble"]


def parts(*kinds: str) -> list[str]:
    """``kind/name`` of every registered part of these kinds; a kind without parts is an error of the test."""
    # what is installed, not what other test modules registered in this process
    found = [f"{kind}/{name}" for kind in kinds for known, name in sorted(static_entries()) if known == kind]
    assert all(any(f.startswith(f"{kind}/") for f in found) for kind in kinds), kinds
    return found


def decoder(part: str = "", **options: Any) -> nn.Module:
    """A two-layer decoder with ``part`` in its socket, in eval mode; ``options``: other sockets and sizes."""
    if part:
        return Host.of(subject_of(part, {f"model.{n}": v for n, v in options.items()})).build()
    sizes = {"vocab_size": VOCAB, "d_model": WIDTH, "n_layers": 2, "context_length": LENGTH}
    return build("model", "decoder", **{**sizes, "attention": {"name": "gqa", "n_heads": 4, "n_kv_heads": 2}, **options}).eval()


def batch_of(values: torch.Tensor, **changes: Any) -> Batch:
    return Batch(values, **changes)
