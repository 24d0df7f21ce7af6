"""Lion, Adafactor, SOAP and schedule-free AdamW against the formulas of their papers; what they keep, and where they converge."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

from components import build
from components.core import registry
from components.core.errors import UserError
from components.core.weights import Weight, roles
from components.parts.optimizer import soap as soap_module

OWN = ("lion", "adafactor", "soap", "schedule_free")
# learning rates under which a quadratic converges; lion and rprop move by the rate alone, so theirs is small
QUADRATIC = {
    "adadelta": 20.0, "adafactor": 0.02, "adagrad": 0.5, "adam": 0.05, "adamax": 0.05, "adamw": 0.05, "asgd": 0.1, "lion": 0.012,
    "muon": 0.05, "nadam": 0.05, "radam": 0.1, "rmsprop": 0.02, "rprop": 0.01, "schedule_free": 0.1, "sgd": 0.05, "soap": 0.05,
}  # fmt: skip


def gradients(weights, steps, seed=0):
    """The same gradients for whoever asks, of about the size that training has."""
    g = torch.Generator().manual_seed(seed)
    return [[0.1 * torch.randn(w.parameter.shape, generator=g, dtype=torch.float64) for w in weights] for _ in range(steps)]


def run(name, model, steps, **options):
    """(optimizer, {name: first value}, gradients) after ``steps`` in float64."""
    model.double()
    weights = list(roles(model))
    first = {w.name: w.parameter.detach().clone() for w in weights}
    optimizer = build("optimizer", name, weights=weights, **options)
    drawn = gradients(weights, steps)
    for grads in drawn:
        for w, g in zip(weights, grads):
            w.parameter.grad = g.clone()
        optimizer.step()
    return optimizer, weights, first, drawn


def decayed(w):
    return w.role in ("hidden", "out", "head", "router")


def test_lion_is_its_formula(model):
    _, weights, first, drawn = run("lion", model, 5, lr=0.01, betas=(0.9, 0.99), weight_decay=0.3)
    for i, w in enumerate(weights):
        x, m = first[w.name], torch.zeros_like(first[w.name])
        for grads in drawn:
            c = 0.9 * m + 0.1 * grads[i]
            x = x - 0.01 * (c.sign() + (0.3 if decayed(w) else 0.0) * x)
            m = 0.99 * m + 0.01 * grads[i]
        torch.testing.assert_close(w.parameter.detach(), x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("relative", [True, False])
def test_adafactor_is_its_formula(model, relative):
    _, weights, first, drawn = run("adafactor", model, 5, lr=0.05, weight_decay=0.2, relative=relative)

    def one(x, grads, decay):
        r = c = v = 0.0
        for t, g in enumerate(grads, 1):
            beta, square = 1 - t**-0.8, g**2 + 1e-30
            if x.ndim == 2:  # algorithm 4: sums of rows and columns
                r = beta * r + (1 - beta) * square.sum(1)
                c = beta * c + (1 - beta) * square.sum(0)
                second = torch.outer(r, c) / r.sum()
            else:
                second = v = beta * v + (1 - beta) * square
            u = g / second.sqrt()
            u = u / max(1.0, float(u.square().mean().sqrt()))
            size = max(1e-3, float(x.square().mean().sqrt())) if relative else 1.0
            x = x - 0.05 * decay * x - 0.05 * size * u
        return x

    for i, w in enumerate(weights):
        x, mine, decay = first[w.name], w.parameter.detach(), 0.2 if decayed(w) else 0.0
        grads = [g[i] for g in drawn]
        if x.ndim == 3:  # each expert's matrix by itself
            expected = torch.stack([one(x[e], [g[e] for g in grads], decay) for e in range(len(x))])
        else:
            expected = one(x, grads, decay)
        # the size of a weight is taken before its decay or after: the difference is of second order
        torch.testing.assert_close(mine, expected, rtol=1e-9, atol=1e-9)


def test_adafactor_stands_still_for_rows_without_gradient(weights):
    """A token that did not occur has a mean square of 1e-30, not of 0."""
    optimizer = build("optimizer", "adafactor", weights=weights)
    table = next(w.parameter for w in weights if w.role == "embedding")
    before = table.detach().clone()
    for w in weights:
        w.parameter.grad = torch.ones_like(w.parameter)
    table.grad[3:] = 0
    optimizer.step()
    assert torch.isfinite(table).all()
    assert torch.equal(table[3:], before[3:])
    assert not torch.equal(table[:3], before[:3])


def test_adafactor_keeps_rows_and_columns_only(weights):
    optimizer = build("optimizer", "adafactor", weights=weights)
    for w in weights:
        w.parameter.grad = torch.ones_like(w.parameter)
    optimizer.step()
    kept = sum(v.numel() for s in optimizer.state.values() for v in s.values())
    expected = sum(
        w.parameter.numel() if w.parameter.ndim < 2 else w.parameter.numel() // w.parameter.shape[-1]
        + w.parameter.numel() // w.parameter.shape[-2]
        for w in weights
    )  # fmt: skip
    assert kept == expected


def test_soap_is_its_formula(model):
    """Algorithm 3 with a new basis every 2 steps: power iteration and QR, vectors in the order of their eigenvalues, ties broken along the axes."""
    steps, lr, b1, b2 = 7, 0.01, 0.9, 0.8
    options = {"lr": lr, "betas": (b1, b2), "shampoo_beta": 0.7, "eps": 1e-8, "weight_decay": 0.1, "every": 2}
    _, weights, first, drawn = run("soap", model, steps, **options)

    def untied(m):
        return m + 1e-3 * m.trace() / len(m) * torch.diag(torch.arange(len(m), 0, -1) / len(m))

    def one(x, grads, decay):
        left, right = (1 - 0.7) * (grads[0] @ grads[0].T), (1 - 0.7) * (grads[0].T @ grads[0])
        ql, qr = (torch.linalg.eigh(untied(m))[1].flip(1) for m in (left, right))
        m = v = torch.zeros_like(x)
        for t, g in enumerate(grads[1:], 1):
            inside = ql.T @ g @ qr
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * inside**2
            step = (ql.T @ m @ qr) / (1 - b1**t) / ((v / (1 - b2**t)).sqrt() + 1e-8)
            x = (1 - lr * decay) * x - lr * ql @ step @ qr.T
            left, right = left.lerp(g @ g.T, 1 - 0.7), right.lerp(g.T @ g, 1 - 0.7)
            if t % 2 == 0:
                order = torch.diag(ql.T @ untied(left) @ ql).argsort(descending=True)
                ql, v = torch.linalg.qr(untied(left) @ ql[:, order])[0], v[order]
                order = torch.diag(qr.T @ untied(right) @ qr).argsort(descending=True)
                qr, v = torch.linalg.qr(untied(right) @ qr[:, order])[0], v[:, order]
        return x

    seen = 0
    for i, w in enumerate(weights):
        if w.role not in ("hidden", "out") or w.parameter.ndim == 3:
            continue
        seen += 1
        expected = one(first[w.name], [g[i] for g in drawn], 0.1)
        torch.testing.assert_close(w.parameter.detach(), expected, rtol=1e-6, atol=1e-6)
    assert seen == 3


def test_soap_stays_the_same_run_whatever_the_last_bit_of_a_gradient_is():
    """Gradients of fewer directions than sides: 0.02 apart after 20 steps where rounding chooses the eigenvectors of the rest."""

    def weights_after(noise):
        torch.manual_seed(0)
        layers = nn.ModuleList([nn.Linear(32, 48, bias=False), nn.Linear(48, 32, bias=False)]).double()
        weights = [Weight(str(i), m.weight, "hidden", ("d_model", "d_ff"), m) for i, m in enumerate(layers)]
        optimizer = build("optimizer", "soap", weights=weights, every=4)
        for _ in range(20):
            x = torch.randn(12, 32, dtype=torch.float64)
            optimizer.zero_grad()
            (layers[1](layers[0](x).tanh()) - x.roll(1, 1)).square().mean().backward()
            for m in layers:
                m.weight.grad.mul_(1 + noise * torch.randn(m.weight.shape, dtype=torch.float64).sign())
            optimizer.step()
        return [m.weight.detach() for m in layers]

    for a, b in zip(weights_after(0.0), weights_after(2e-16)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_soap_and_adafactor_take_each_expert_by_itself():
    for name, options in (("soap", {"every": 2}), ("adafactor", {})):
        stack = nn.Parameter(torch.randn(3, 6, 6, dtype=torch.float64))
        alone = [nn.Parameter(m.clone()) for m in stack.detach()]
        axes, holder = ("d_model", "d_ff"), nn.Module()
        together = build("optimizer", name, weights=[Weight("e", stack, "hidden", ("experts", *axes), holder)], **options)
        weights = [Weight(str(i), p, "hidden", axes, holder) for i, p in enumerate(alone)]
        apart = build("optimizer", name, weights=weights, **options)
        for _ in range(5):
            stack.grad = torch.randn_like(stack)
            for p, g in zip(alone, stack.grad):
                p.grad = g.clone()
            together.step()
            apart.step()
        torch.testing.assert_close(stack.detach(), torch.stack([p.detach() for p in alone]), rtol=1e-7, atol=1e-7)


def test_soap_leaves_all_else_to_adamw(model):
    _, weights, first, drawn = run("soap", model, 4, lr=0.01, betas=(0.9, 0.8), weight_decay=0.1)
    for i, w in enumerate(weights):
        if w.role in ("hidden", "out"):
            continue
        x = nn.Parameter(first[w.name])
        other = torch.optim.AdamW([x], lr=0.01, betas=(0.9, 0.8), weight_decay=0.1 if decayed(w) else 0.0)
        for grads in drawn:
            x.grad = grads[i]
            other.step()
        torch.testing.assert_close(w.parameter, x, rtol=1e-9, atol=1e-9)


def test_soap_turns_one_side_where_the_other_is_long(model):
    optimizer, weights, _, _ = run("soap", model, 3, largest=8)
    out = next(w.parameter for w in weights if w.name == "out.weight")  # (8, 16)
    assert "basis_left" in optimizer.state[out]
    assert "basis_right" not in optimizer.state[out]


def test_schedule_free_is_its_formula(model):
    lr, b1, b2, decay = 0.02, 0.8, 0.95, 0.3
    optimizer, weights, first, drawn = run("schedule_free", model, 6, lr=lr, betas=(b1, b2), weight_decay=decay)
    averages = {}
    for i, w in enumerate(weights):
        z = x = first[w.name]
        v, wd = torch.zeros_like(x), decay if decayed(w) else 0.0
        for t, grads in enumerate(drawn, 1):
            y = (1 - b1) * z + b1 * x
            v = b2 * v + (1 - b2) * grads[i] ** 2
            z = z - lr * grads[i] / ((v / (1 - b2**t)).sqrt() + 1e-8) - lr * wd * y
            x = (1 - 1 / t) * x + z / t  # equal rates: the average of all z
        averages[w.name] = x
        torch.testing.assert_close(w.parameter.detach(), (1 - b1) * z + b1 * x, rtol=1e-10, atol=1e-10)
    optimizer.eval()
    for w in weights:
        torch.testing.assert_close(w.parameter.detach(), averages[w.name], rtol=1e-10, atol=1e-10)


def test_schedule_free_weighs_by_the_square_of_the_largest_rate(weights):
    optimizer = build("optimizer", "schedule_free", weights=weights, lr=1.0, lr_power=2.0)
    sums = []
    for rate in (0.5, 1.0, 0.2):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for w in weights:
            w.parameter.grad = torch.ones_like(w.parameter)
        optimizer.step()
        sums.append(optimizer.param_groups[0]["weight_sum"])
    assert sums == pytest.approx([0.25, 1.25, 2.25])


@pytest.mark.parametrize("name", sorted(set(registry.names("optimizer")) - {"ema", "skip_step"}))
def test_a_quadratic_converges(name):
    """0.5 (x - 1)² over a matrix that begins between 2 and 3; the rate falls in a line to 0, but for schedule_free, which needs no fall."""
    x = nn.Parameter(2 + torch.rand(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    weight = Weight("x", x, "hidden", ("d_model", "d_ff"), nn.Linear(4, 4))
    rate = QUADRATIC[name]
    options = {"weight_decay": 0.0} if "weight_decay" in registry.entry("optimizer", name).signature.options else {}
    options |= {"betas": (0.5, 0.9)} if name == "lion" else {}  # its long memory swings around the minimum
    optimizer = build("optimizer", name, weights=[weight], lr=rate, **options)
    for step in range(400):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1.0 if name in ("schedule_free", "adadelta") else 1 - step / 400)
        x.grad = x.detach() - 1
        optimizer.step()
    if name == "schedule_free":
        optimizer.eval()
    assert float((x.detach() - 1).abs().max()) < 0.02


@pytest.mark.parametrize("name", [*OWN, "ema"])
def test_state_of_bf16_weights_is_fp32_and_comes_back_so(name, model, ids):
    model.bfloat16()

    def train(model, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(ids).float(), (ids.flatten() + 1) % 11).backward()
            optimizer.step()

    optimizer = build("optimizer", name, weights=list(roles(model)))
    train(model, optimizer, 3)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    twin = copy.deepcopy(model)
    again = build("optimizer", name, weights=list(roles(twin)))
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    for p, q in zip(model.parameters(), twin.parameters()):
        for key, value in optimizer.state[p].items():
            other = again.state[q][key]
            assert value == other if isinstance(value, int) else value.dtype == other.dtype and torch.equal(value, other), key
    assert name == "lion" or any(
        v.dtype == torch.float32 for v in optimizer.state[model.q.weight].values() if torch.is_tensor(v)
    )
    train(model, optimizer, 2)
    train(twin, again, 2)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters()))


@pytest.mark.parametrize("name", OWN)
def test_rates_scaled_by_the_init_are_followed(name, weights):
    from dataclasses import replace

    scaled = [replace(w, lr_scale=0.25) if w.role == "hidden" else w for w in weights]
    optimizer = build("optimizer", name, weights=scaled, lr=0.1)
    rate = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert all(rate[id(w.parameter)] == pytest.approx(0.025 if w.role == "hidden" else 0.1) for w in weights)


def test_what_they_refuse(weights):
    with pytest.raises(UserError, match=r"shampoo_beta=1\.5"):
        build("optimizer", "soap", weights=weights, shampoo_beta=1.5)
    for name in ("lion", "soap", "schedule_free"):
        with pytest.raises(UserError, match="at least 0 and below 1"):
            build("optimizer", name, weights=weights, betas=(0.9, 1.0))
    optimizer = build("optimizer", "schedule_free", weights=weights)
    optimizer.eval()
    with pytest.raises(RuntimeError, match=r"optimizer\.train\(\)"):
        optimizer.step()


def test_soap_matrices_are_turned_and_back_without_loss():
    x = torch.randn(3, 4, 6, dtype=torch.float64)
    state = {
        "basis_left": torch.linalg.qr(torch.randn(3, 4, 4).double())[0],
        "basis_right": torch.linalg.qr(torch.randn(3, 6, 6).double())[0],
    }
    torch.testing.assert_close(soap_module.turn(soap_module.turn(x, state), state, back=True), x)
