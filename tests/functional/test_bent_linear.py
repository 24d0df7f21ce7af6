"""A bend that is taken again in the backward pass: the same values and gradients, less kept, and never where calling a map would do more than multiply."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from components import build
from components.core.makers import make
from components.core.sockets import Batch
from components.functional import bent_linear as module
from components.functional import chosen
from components.functional.activations import ACTIVATIONS
from components.functional.bends import KERNELS, Gated, write
from components.functional.bent_linear import WIDTH, bent_linear
from components.training.estimate.live import Live

FFNS = ["mlp", "glu", "clamped_glu", "multiplied_glu", "sparse_glu", "low_rank", "channel_mix"]


@pytest.fixture
def as_ever(monkeypatch):
    """Every bend is kept, as plain modules do it."""
    monkeypatch.setattr(module, "plain", lambda *_: False)


def gated(gate, up):
    return torch.tanh(gate) * up


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bend", [*ACTIVATIONS.values(), gated])
def test_values_and_gradients(bend, bias):
    out = nn.Linear(WIDTH, 4, bias=bias).double()
    parts = tuple(torch.randn(2, 3, WIDTH, dtype=torch.float64, requires_grad=True) for _ in range(1 + (bend is gated)))
    one, other = bent_linear(bend, parts, out), out(bend(*parts))
    assert type(one.grad_fn.next_functions[0][0]).__name__ == "_BentLinearBackward", "kept"
    wanted = [*parts, *out.parameters()]
    for a, b in zip(
        (one, *torch.autograd.grad(one.square().sum(), wanted)), (other, *torch.autograd.grad(other.square().sum(), wanted))
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("bend", KERNELS)
@pytest.mark.parametrize("gates", [False, True])
def test_gradients_that_are_written_are_those_of_autograd(bend, gates, dtype, monkeypatch):
    """Bit for bit, with pieces that do not divide the rows, and of parts that are views."""
    bend = Gated(bend) if gates else bend
    out = nn.Linear(WIDTH, 8).to(dtype)
    both = torch.randn(50, 2 * WIDTH).to(dtype).requires_grad_()
    parts = both.split(WIDTH, -1)[: 1 + gates]
    monkeypatch.setattr(module, "AT_ONCE", 16 * WIDTH)
    called = []
    monkeypatch.setattr(module, "write", lambda *a: called.append(a) or write(*a))
    wanted = [both, *out.parameters()]
    grad = torch.randn(50, 8).to(dtype)
    one = torch.autograd.grad(bent_linear(bend, parts, out), wanted, grad)
    assert len(called) == 4
    monkeypatch.setattr(module, "written", lambda _: False)
    other = torch.autograd.grad(bent_linear(bend, parts, out), wanted, grad)
    assert len(called) == 4
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("bend", ACTIVATIONS)
def test_under_autocast_as_plain_modules(bend):
    """To the rounding of bf16."""
    torch.manual_seed(0)
    up, out = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 8)
    x = torch.randn(40, 8, requires_grad=True)

    def run(second):
        with torch.autocast("cpu", torch.bfloat16):
            y = second(up(x))
        assert y.dtype == torch.bfloat16
        return y, *torch.autograd.grad(y.float().square().mean(), [x, *up.parameters(), *out.parameters()])

    one = run(lambda y: bent_linear(ACTIVATIONS[bend], (y,), out))
    for a, b in zip(one, run(lambda y: out(ACTIVATIONS[bend](y))), strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02 * float(b.detach().abs().max()))


def kept_by(work) -> int:
    """Bytes of all tensors that the backward pass waits for, each storage once; weights excepted."""
    held = {}

    def note(x):
        if not isinstance(x, nn.Parameter):
            held[x.untyped_storage().data_ptr()] = x, x.untyped_storage().nbytes()
        return x

    with saved_tensors_hooks(note, lambda x: x):
        work()
    return sum(size for _, size in held.values())


@pytest.mark.usefixtures("as_ever")
@pytest.mark.parametrize("name", FFNS)
def test_a_feed_forward_keeps_less(name, monkeypatch):
    torch.manual_seed(0)
    ffn = make({"name": name, "d_ff": WIDTH}, "ffn", d_model=32)
    x = torch.randn(2, 1500, 32, requires_grad=True)
    plain, y = kept_by(lambda: ffn(x)), ffn(x)
    monkeypatch.undo()
    assert kept_by(lambda: ffn(x)) < 0.8 * plain
    found = ffn(x)
    weights = [x, *ffn.parameters()]
    for a, b in zip(
        (found, *torch.autograd.grad(found.sum(), weights)), (y, *torch.autograd.grad(y.sum(), weights)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_what_is_called_as_a_module():
    class Wrapped(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1

    hooked, frozen = nn.Linear(WIDTH, 4), nn.Linear(WIDTH, 4).requires_grad_(False)
    hooked.register_forward_hook(lambda _, __, y: y + 1)
    x = torch.randn(5, WIDTH, requires_grad=True)
    for out in (Wrapped(WIDTH, 4), hooked, frozen):
        y = bent_linear(torch.tanh, (x,), out)
        torch.testing.assert_close(y, out(torch.tanh(x)))
    narrow = bent_linear(torch.tanh, (x[:, :-1],), nn.Linear(WIDTH - 1, 4))
    assert "BentLinear" not in type(narrow.grad_fn).__name__ + str(narrow.grad_fn.next_functions)
    with torch.no_grad():
        assert bent_linear(torch.tanh, (x,), nn.Linear(WIDTH, 4)).grad_fn is None


def test_only_what_is_wanted_has_a_gradient():
    out = nn.Linear(WIDTH, 4)
    gate, up = torch.randn(3, WIDTH, requires_grad=True), torch.randn(3, WIDTH)
    bent_linear(gated, (gate, up), out).sum().backward()
    assert gate.grad is not None
    assert up.grad is None


def test_a_second_derivative_is_refused():
    out, x = nn.Linear(WIDTH, 4), torch.randn(3, WIDTH, requires_grad=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(bent_linear(torch.tanh, (x,), out).square().sum(), x, create_graph=True)


def test_the_choice_is_told():
    model = build("model", "decoder", vocab_size=16, d_model=WIDTH // 4, n_layers=1, context_length=4)
    with chosen.hearing() as heard:
        model(
            Batch(torch.zeros(1, 4, dtype=torch.long), targets=torch.zeros(1, 4, dtype=torch.long)),
            build("loss", "next_token", vocab_size=16),
        )
    assert [c.kernel for c in heard if c.operation == "bend"] == ["taken again backwards"]


def test_a_plan_runs_three_pieces_in_the_place_of_all_and_tells_the_same(monkeypatch):
    """On shapes alone: a layer of 70 B has hundreds of them, which were most of the time of ``components plan --search``."""

    def told():
        pieces = []
        with FakeTensorMode():
            out, parts = nn.Linear(WIDTH, 64), [torch.zeros(9000, WIDTH, requires_grad=True) for _ in range(2)]
            y = bent_linear(lambda gate, up: pieces.append(gate) or gated(gate, up), tuple(parts), out)
            with Live((*out.parameters(), *parts, y)) as live:
                y.sum().backward()
        return len(pieces) - 1, live.peak

    few, peak = told()
    monkeypatch.setattr(module, "FakeTensor", ())
    assert (few, told()) == (3, (9, peak))
