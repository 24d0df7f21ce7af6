"""Activation checkpointing by pattern: the gradients of a pass that keeps everything, bit for bit, and less memory the more is computed once more."""

from __future__ import annotations

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from components import build
from components.core.recompute import checkpointing_of
from components.core.sockets import Batch, Layer
from components.core.weights import initialise

VOCAB, LAYERS = 64, 4


class Held(TorchDispatchMode):
    """The bytes of everything that was computed and is still held; saved tensors, whoever saves them, are."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in pytree.tree_leaves(out):
            if isinstance(x, torch.Tensor):
                storage = x.untyped_storage()
                self.seen[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        return out

    def bytes(self) -> int:
        return sum(size for ref, size in self.seen.values() if not ref.expired())


def model_with(asked, **options):
    sizes = {"d_model": 32, "n_layers": LAYERS, "context_length": 64}
    parts = {"position": "rope", "norm": "rms", "ffn": "glu", "attention": {"name": "gqa", "n_heads": 4, "n_kv_heads": 2}}
    model = build("model", "decoder", vocab_size=VOCAB, **sizes, **{**parts, **options}).train()
    initialise(model, model.init, seed=0)
    for layer in (m for m in model.modules() if isinstance(m, Layer)):
        layer.checkpointing = checkpointing_of(asked, layer.place.index)
    return model


def batch() -> Batch:
    ids = torch.randint(0, VOCAB, (4, 64), generator=torch.Generator().manual_seed(0))
    return Batch(ids, targets=ids.roll(-1, 1))


def gradients(asked, *, compiled=False, dtype=torch.float32, **options):
    """(gradients by name, bytes held between the forward and the backward pass)."""
    model = model_with(asked, **options).to(dtype)
    if compiled:
        for layer in (m for m in model.modules() if isinstance(m, Layer)):
            layer.compile(dynamic=True, backend="aot_eager")
    torch.manual_seed(3)
    loss = build("loss", "next_token", vocab_size=VOCAB)
    if compiled:
        total, held = model(batch(), loss).losses["loss"][0], 0
    else:
        with Held() as mode:
            total = model(batch(), loss).losses["loss"][0]
        held = mode.bytes()
    total.backward()
    return {n: p.grad for n, p in model.named_parameters()}, held


DROPPED = {"residual": {"name": "add", "dropout": 0.1}, "attention": {"name": "gqa", "n_heads": 4, "dropout": 0.1}}
KINDS = {
    "plain": {},
    "dropped": DROPPED,
    "experts": {"ffn": {"name": "moe", "n_experts": 4}},
    "gated delta": {"attention": "gated_delta_net"},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradients_are_the_same_and_less_is_held(kind, dtype):
    kept, most = gradients(False, dtype=dtype, **KINDS[kind])
    held = {}
    for asked in (True, 2, "selective"):
        found, held[asked] = gradients(asked, dtype=dtype, **KINDS[kind])
        for name, grad in kept.items():
            assert torch.equal(found[name], grad), f"{asked}: {name}"
    assert held[True] < 0.65 * most
    assert held[True] < held["selective"] < most
    assert held[True] < held[2] < most


def test_every_nth_layer():
    assert [checkpointing_of(2, i) for i in range(5)] == [False, True, False, True, False]
    assert [checkpointing_of(1, i) for i in range(3)] == [True] * 3
    assert [checkpointing_of(3, i) for i in range(6)] == [False, False, True] * 2
    assert [checkpointing_of("selective", i) for i in range(2)] == ["selective"] * 2
    assert [checkpointing_of(asked, 1) for asked in (True, False)] == [True, False]


@pytest.mark.parametrize("asked", [True, 2, "selective"])
def test_compiled_layers_too(asked):
    kept, _ = gradients(False)
    found, _ = gradients(asked, compiled=True)
    for name, grad in kept.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-4, atol=1e-6)
