"""Who multiplies in fp32: the same values and gradients from oneDNN as from torch, and torch's own product wherever somebody looks at what is computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from components import build
from components.check.host import scramble
from components.core.sockets import Batch
from components.functional import chosen
from components.functional import linear as module
from components.functional.bent_linear import WIDTH, bent_linear
from components.functional.joint import ROWS, joint_linear
from components.functional.linear import LEAST, Linear, linear, matmul, whole_width

N, K, M = 1024, 64, 96  # above the bound of a product
there = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")


@pytest.fixture
def counted(monkeypatch):
    """As on a processor where oneDNN is faster; the shapes of its products."""
    monkeypatch.setattr(module, "wider", lambda: True)
    real, shapes = module._multiplied, []

    def multiplied(x, weight, bias=None):
        shapes.append((tuple(x.shape), tuple(weight.shape)))
        return real(x, weight, bias)

    monkeypatch.setattr(module, "_multiplied", multiplied)
    return shapes


def close(one, other):
    """To the rounding of sums in fp32, held against fp64."""
    assert one.dtype == torch.float32
    assert one.shape == other.shape
    assert float((one.detach().double() - other.detach()).norm() / other.detach().norm()) < 1e-6


@there
@pytest.mark.parametrize("stack", [(), (2,)])
@pytest.mark.parametrize("turned", ["neither", "first", "second"])
def test_products_of_two_matrices_and_of_stacks_of_them(stack, turned, counted):
    a = torch.randn(*stack, K, N).mT if turned == "first" else torch.randn(*stack, N, K)
    b = torch.randn(*stack, M, K).mT if turned == "second" else torch.randn(*stack, K, M)
    close(matmul(a, b), a.double() @ b.double())
    assert counted == [((N, K), (M, K))] * (2 if stack else 1)


def test_a_product_of_two_small_matrices_is_torch_s(counted):
    a, b = torch.randn(3, 8, 4), torch.randn(3, 4, 8)
    assert torch.equal(matmul(a, b), a @ b)
    assert torch.equal(matmul(a[0], b[0]), a[0] @ b[0])
    assert matmul(a[:0], b[:0]).shape == (0, 8, 8)
    assert not counted


@there
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("shape", "out"), [((N, K), M), ((4, N // 4, K), M), ((N, M), K)])
def test_values_and_gradients(shape, out, bias, counted):
    x = torch.randn(shape, requires_grad=True)
    one = Linear(shape[-1], out, bias=bias)
    other = nn.Linear(shape[-1], out, bias=bias).double()
    other.load_state_dict(one.state_dict())
    grad, wide = torch.randn(*shape[:-1], out), x.detach().double().requires_grad_()
    one(x).backward(grad)
    other(wide).backward(grad.double())
    assert len(counted) == 3, "forward, and the gradients of both factors"
    close(one(x), other(wide))
    close(x.grad, wide.grad)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        close(mine.grad, theirs.grad)
        assert mine.grad.is_contiguous()


@there
def test_only_what_is_asked_for(counted):
    x = torch.randn(N, K)
    layer = Linear(K, M)
    layer(x).sum().backward()
    assert len(counted) == 2, "x is data, and has no gradient"
    layer.requires_grad_(False)
    (grad,) = torch.autograd.grad(layer(x.requires_grad_()).sum(), [x])
    assert len(counted) == 4
    close(grad, torch.ones(N, M).double() @ layer.weight.double())


@there
def test_second_derivatives(counted):
    x = torch.randn(N, K, requires_grad=True)
    weight = torch.randn(M, K, requires_grad=True)

    def second(product):
        (first,) = torch.autograd.grad(product(x, weight).square().sum(), [x], create_graph=True)
        return torch.autograd.grad(first.square().mean(), [x, weight])

    for one, other in zip(second(linear), second(nn.functional.linear), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert counted


@there
def test_joined_and_bent_products(counted, monkeypatch):
    x, maps = torch.randn(1, ROWS, K, requires_grad=True), [Linear(K, M), Linear(K, K)]
    up, out = Linear(K, WIDTH), Linear(WIDTH, K)

    def run():
        ys = [*joint_linear(x, maps), bent_linear(torch.tanh, (up(x),), out)]
        asked = [x, *(p for m in (*maps, up, out) for p in m.parameters())]
        return ys, torch.autograd.grad(sum(y.square().sum() for y in ys), asked)

    ys, grads = run()
    assert len(counted) >= 9
    monkeypatch.setattr(module, "wider", lambda: False)
    plain, theirs = run()
    for one, other in zip((*ys, *grads), (*plain, *theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def flops(x, layer):
    with FlopCounterMode(display=False) as counter:
        layer(x)
    assert counter.get_total_flops() == 2 * N * K * M


def autocast(x, layer):
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16


def mapped(x, layer):
    assert torch.func.vmap(layer)(x[None]).shape == (1, N, M)


def traced(x, layer):
    assert "aten::linear" in str(torch.jit.trace(layer, x, check_trace=False).inlined_graph)


def compiled(x, layer):
    assert "linear" in str(torch.export.export(layer, (x,), strict=True).graph)


def few(x, layer):
    assert layer(x[: (LEAST - 1) // (K * M)]).shape[1] == M


def double(x, layer):
    assert layer.double()(x.double()).dtype == torch.float64


def meta(x, layer):
    assert layer.to("meta")(x.to("meta")).is_meta


@pytest.mark.parametrize("look", [flops, autocast, mapped, traced, compiled, few, double, meta])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit.trace, which others still use
def test_torch_multiplies_where_somebody_looks(look, counted):
    look(torch.randn(N, K), Linear(K, M))
    assert not counted


@there
def test_a_model_says_so_and_computes_the_same(counted, monkeypatch):
    options = {"vocab_size": 96, "d_model": K, "n_layers": 2, "context_length": 128}
    model, ids = scramble(build("model", "decoder", **options), 0.2), torch.randint(0, 96, (8, 128))
    with chosen.hearing() as heard:
        found = model(Batch(ids))
    assert ("products in fp32", "oneDNN") in {(c.operation, c.kernel) for c in heard}
    made = len(counted)
    assert made >= 2 * 4 + 1, (
        "of each layer the queries with keys and values, the output, and both of its feed-forward layer; and the head"
    )
    monkeypatch.setattr(module, "wider", lambda: False)
    torch.testing.assert_close(model(Batch(ids)), found, rtol=1e-4, atol=1e-4)
    assert len(counted) == made


LINUX = "processor\t: 0\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n"


@pytest.mark.parametrize(
    ("said", "whole"),
    [
        (LINUX.format("AuthenticAMD", 26), True),
        (LINUX.format("AuthenticAMD", 25), False),
        (LINUX.format("GenuineIntel", 6), False),
        ("AMD64 Family 26 Model 68 Stepping 0, AuthenticAMD", True),
        ("AMD64 Family 25 Model 97 Stepping 2, AuthenticAMD", False),
        ("arm", False),
        ("", False),
    ],
)
def test_which_processors(said, whole):
    assert whole_width(said) is whole


half = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="no products in bf16 here",
)


@pytest.fixture
def products(monkeypatch):
    """How often oneDNN is asked directly."""
    real, found = module._multiplied, []
    monkeypatch.setattr(module, "_multiplied", lambda *a: found.append(a) or real(*a))
    return found


@half
@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("shape", [(4, 1024, K), (4096, K)])
def test_a_bias_in_bf16_is_added_by_the_product(shape, mixed, products, monkeypatch):
    """Bit for bit as torch has it, forward and backward, in mixed precision and in bf16 alone; large maps that were joined or bent too."""
    dtype = torch.float32 if mixed else torch.bfloat16
    x, layer = torch.randn(shape).to(dtype).requires_grad_(), Linear(K, M).to(dtype)
    maps, up, out = [Linear(K, M).to(dtype) for _ in range(2)], Linear(K, WIDTH).to(dtype), Linear(WIDTH, K).to(dtype)
    wanted = [x, *(p for m in (layer, *maps, up, out) for p in m.parameters())]

    def run():
        y = x * 1  # of a leaf, autocast would cast once and add gradients up in bf16
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            ys = [layer(y), *joint_linear(y.bfloat16(), maps), bent_linear(nn.functional.gelu, (up(y),), out)]
        assert all(y.dtype == torch.bfloat16 for y in ys)
        return *ys, *torch.autograd.grad(sum(y.float().square().mean() for y in ys), wanted)

    ours = run()
    assert len(products) == 4
    monkeypatch.setattr(module, "_in_one_pass", lambda *_: False)
    theirs = run()
    assert len(products) == 4
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@half
def test_who_adds_a_bias_in_bf16(products):
    layer, x = Linear(K, M), torch.randn(4096, K)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x.double().float()[:64])  # few
        Linear(K, M, bias=False)(x)
        with FlopCounterMode(display=False) as counter:
            layer(x)
        assert counter.get_total_flops() == 2 * 4096 * K * M
        assert not products
        with chosen.hearing() as heard:
            layer(x)
    assert len(products) == 1
    assert [c.kernel for c in heard] == ["added by the product"]
    assert layer.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    assert len(products) == 2
