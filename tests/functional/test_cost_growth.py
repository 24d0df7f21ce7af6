"""What a training step allocates grows no faster than the mathematics of its mixer. Bytes and calls are counted, and nothing is timed."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from components import build
from components.core.makers import make
from components.core.sockets import Batch

# every mixer whose cost is linear in the length; ``gqa`` and ``mha`` are here for their memory, which the fused kernel keeps linear
LINEAR = [
    "chunked",
    "delta_net",
    "gated_delta_net",
    "gla",
    "gqa",
    "hgrn2",
    "kda",
    "linear",
    "mamba",
    "mamba2",
    "mlstm",
    "mha",
    "retention",
    "rwkv7",
    "sliding_window",
]
UNROLLED = [
    "gru",
    "lstm",
    "rnn",
    "slstm",
]  # position by position, so at shorter lengths: the counting takes longer than the step


class Allocated(TorchDispatchMode):
    """Bytes of all tensors that operations make, of whichever pass."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        old = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        new = (x for x in tree_leaves(out) if isinstance(x, torch.Tensor) and x.untyped_storage()._cdata not in old)
        self.bytes += sum(x.numel() * x.element_size() for x in new)
        return out


def allocated(attention: str, length: int, documents: bool = False) -> int:
    """Bytes that a training step of one layer makes."""
    options = {"name": "decoder", "d_model": 16, "n_layers": 1, "context_length": length, "position": "none"}
    model = make({**options, "attention": attention, "ffn": "none"}, "model", vocab_size=16)
    ids = torch.zeros(1, length, dtype=torch.long)
    batch = Batch(ids, targets=ids, documents=(torch.arange(length) // 100)[None] if documents else None)
    with Allocated() as count:
        total, weight = model(batch, build("loss", "next_token", vocab_size=16)).losses["loss"]
        (total / weight).backward()
    return count.bytes


@pytest.mark.parametrize("attention", LINEAR + UNROLLED)
def test_what_a_step_allocates_is_linear_in_the_length(attention):
    lengths = (64, 128) if attention in UNROLLED else (256, 512)
    few, many = (allocated(attention, length) for length in lengths)
    assert math.log2(many / few) < 1.06


@pytest.mark.parametrize("attention", ["sliding_window", "rwkv7", "gla"])
def test_with_documents_too(attention):
    few, many = (allocated(attention, length, documents=True) for length in (256, 512))
    assert math.log2(many / few) < 1.06


def test_the_count_sees_what_is_quadratic():
    assert math.log2(allocated("talking_heads", 512) / allocated("talking_heads", 256)) > 1.8
