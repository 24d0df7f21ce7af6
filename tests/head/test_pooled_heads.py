"""Heads that see the whole row and give one vector for it: held to the contract of a part, in an encoder."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from components import build
from components.core.flops import Work, flops_of
from components.core.sockets import Batch, SequenceInfo
from components.core.weights import initialise, roles

V, D, T, N = 19, 16, 7, 3
POOLINGS = ("first", "last", "mean", "max", "attention")
HEADS = [
    *({"name": "classification", "n_classes": N, "pooling": p} for p in POOLINGS),
    {"name": "classification", "n_classes": N, "dense": True, "norm": "layer", "bias": False},
    {"name": "regression", "n_outputs": N},
    {"name": "regression", "n_outputs": N, "pooling": {"name": "attention", "n_heads": 2}},
]
every_head = pytest.mark.parametrize("head", HEADS, ids=str)


def encoder(head, seed: int = 1) -> nn.Module:
    made = build(
        "model",
        "encoder",
        vocab_size=V,
        d_model=D,
        n_layers=1,
        context_length=T,
        head=head,
        attention={"name": "mha", "n_heads": 2},
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
    return made.eval()


def ids(rows: int = 4, length: int = T) -> torch.Tensor:
    return torch.randint(0, V, (rows, length), generator=torch.Generator().manual_seed(0))


@every_head
def test_shape_dtype_and_gradient(head):
    made = encoder(head)
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        out = made.to(dtype)(ids())
        assert (out.shape, out.dtype) == ((4, N), dtype)
        assert out.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        assert made.float()(ids()).isfinite().all()
    made.double()(ids(64)).square().sum().backward()
    for weight in (w for w in roles(made) if w.name.startswith("head")):
        assert (weight.parameter.grad != 0).double().mean() >= 0.99, weight.name


@every_head
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_and_neighbours_change_nothing(head, side):
    made = encoder(head).double()
    values = ids(2, 4)
    pad = torch.full((2, 3), 5)
    valid = torch.tensor([[False] * 3 + [True] * 4]) if side == "left" else torch.tensor([[True] * 4 + [False] * 3])
    padded = torch.cat((pad, values) if side == "left" else (values, pad), 1)
    out = made(Batch(padded, valid=valid.expand(2, -1)))
    torch.testing.assert_close(out, made(values), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(out[1:], made(values[1:]), rtol=1e-9, atol=1e-9)


@every_head
def test_state_dict_meta_and_compile(head):
    made, other = encoder(head), encoder(head, seed=2)
    other.load_state_dict(made.state_dict())
    assert torch.equal(made(ids()), other(ids()))
    build_ = lambda: build("model", "encoder", vocab_size=V, d_model=D, n_layers=1, context_length=T, head=head)  # noqa: E731
    direct = build_()
    with torch.device("meta"):
        hollow = build_()
    assert all(p.is_meta for p in hollow.parameters())
    hollow = hollow.to_empty(device="cpu")
    for each in (direct, hollow):
        initialise(each, each.init, seed=5)
    for (name, a), b in zip(direct.state_dict().items(), hollow.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    torch._dynamo.reset()
    compiled = torch.compile(made, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(ids()), made(ids()), rtol=1e-4, atol=1e-5)


@every_head
def test_flops_are_those_that_are_counted_and_what_follows_the_pooling_counts_once(head):
    part = encoder(head).head
    for t in (3, 7):
        with FlopCounterMode(display=False) as counter:
            part(torch.randn(1, t, D), SequenceInfo())
        assert flops_of(part, Work(t)) == (counter.get_total_flops(),) * 2
    if "attention" not in str(head):
        assert flops_of(part, Work(3)) == flops_of(part, Work(7))


def test_they_see_the_future_as_they_say():
    """What they lack shows: later tokens, and other documents of the row, change what comes out."""
    made = encoder({"name": "classification", "pooling": "mean"})
    documents = torch.tensor([[0] * 4 + [1] * 3]).expand(4, -1)
    a, b = ids(), ids()
    b[:, 4:] = (b[:, 4:] + 1) % V
    assert (made(Batch(a, documents=documents)) != made(Batch(b, documents=documents))).all()


def test_classification_like_roberta():
    """dropout, dense, tanh, dropout, out_proj over the first position: RobertaClassificationHead."""
    head = build("head", "classification", d_model=D, n_classes=N, dense=True, dropout=0.5)
    x = torch.randn(3, T, D)
    expected = head.logits(torch.tanh(head.dense(x[:, 0])))
    assert not torch.equal(head.train()(x, SequenceInfo()), expected)
    torch.testing.assert_close(head.eval()(x, SequenceInfo()), expected)


def test_classification_like_gpt_2_and_like_modernbert():
    """A matrix without bias over the last token; dense, gelu, norm and the classes over the mean."""
    x = torch.randn(3, T, D)
    gpt = build("head", "classification", d_model=D, n_classes=N, pooling="last", bias=False)
    torch.testing.assert_close(gpt(x, SequenceInfo()), x[:, -1] @ gpt.logits.weight.T)
    options = {"pooling": "mean", "dense": True, "activation": "gelu", "norm": "layer"}
    modern = build("head", "classification", d_model=D, n_classes=N, **options)
    y = modern.norm(F.gelu(modern.dense(x.mean(1))))
    torch.testing.assert_close(modern(x, SequenceInfo()), modern.logits(y))
