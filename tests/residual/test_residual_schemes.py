"""Residuals with something to learn, or with chance: each against its paper's formula, and every one of them in every block."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from components import build
from components.core import registry
from components.core.flops import Work, flops_of
from components.core.makers import make
from components.core.registry import static_entries
from components.core.sockets import Layer, Place

D = 6
BLOCKS, RESIDUALS = (sorted(n for kind, n in static_entries() if kind == wanted) for wanted in ("block", "residual"))


def part(name, place=Place(2, 8), **options):  # noqa: B008  frozen
    takes_width = name not in ("add", "scaled", "deep_norm", "re_zero", "drop_path")
    made = build("residual", name, **({"d_model": D} if takes_width else {}), place=place, **options).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in made.parameters():
            p.normal_(0, 0.5, generator=generator)
    return made.eval()


def pair():
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(2, 3, D, generator=generator, dtype=torch.float64) for _ in range(2))


def test_deep_norm_constants():
    s, y = pair()
    torch.testing.assert_close(part("deep_norm").write(s, y), 16**0.25 * s + y)
    torch.testing.assert_close(part("deep_norm", alpha=3.0).write(s, y), 3 * s + y)
    assert part("deep_norm", side="decoder").alpha == pytest.approx(24**0.25)
    # the paper's encoder of 18 layers before a decoder of 6, and the same the other way round
    assert part("deep_norm", Place(0, 18), side="encoder", decoder_layers=6).alpha == pytest.approx(
        0.81 * (18**4 * 6) ** (1 / 16)
    )
    assert part("deep_norm", Place(0, 6), side="encoder").alpha == pytest.approx(0.81 * 6 ** (5 / 16))


def test_re_zero_begins_as_the_identity():
    s, y = pair()
    made = part("re_zero")
    torch.testing.assert_close(made.write(s, y), s + made.factor * y)
    made.reset_parameters()
    assert torch.equal(made.write(s, y), s)


def test_gated_is_the_gru():
    s, y = pair()
    made = part("gated")
    cell = torch.nn.GRUCell(D, D).double()
    with torch.no_grad():
        # torch: h' = (1 - z) n + z h, z with the sign turned; its reset is applied behind the product, so only r = 1 compares
        z = torch.sigmoid(made.update_y(y) + made.update_s(s) - made.hold)
        r = torch.sigmoid(made.reset_y(y) + made.reset_s(s))
        want = (1 - z) * s + z * torch.tanh(made.new_y(y) + made.new_s(r * s))
        torch.testing.assert_close(made.write(s, y), want)
        made.reset_s.weight.zero_(), made.reset_y.weight.zero_()
        cell.weight_ih.copy_(torch.cat((torch.zeros(D, D), -made.update_y.weight, made.new_y.weight)))
        cell.weight_hh.copy_(torch.cat((torch.zeros(D, D), -made.update_s.weight, made.new_s.weight)))
        cell.bias_ih.zero_(), cell.bias_hh.zero_()
        cell.bias_ih[D : 2 * D] = made.hold
        torch.testing.assert_close(made.write(s, y), cell(y.view(-1, D), s.view(-1, D)).view_as(s))
        assert torch.equal(part("gated", activation="relu").write(s, -y.abs()), part("gated").write(s, torch.zeros_like(y)))
    made.reset_parameters()
    assert (made.hold == 2).all()


def test_highway():
    s, y = pair()
    made = part("highway", open_at=-3.0)
    t = torch.sigmoid(made.transform(s) + made.shift)
    torch.testing.assert_close(made.write(s, y), t * y + (1 - t) * s)
    made.reset_parameters()
    assert (made.shift == -3).all()


def test_laurel():
    s, y = pair()
    made = part("laurel", rank=2)
    low = s @ made.down.weight.T @ made.out.weight.T
    torch.testing.assert_close(made.write(s, y), y + s + low)
    assert made.down.weight.shape == (2, D)
    weighted = part("laurel", rank=2, weighted=True)
    a, b = 2 * torch.softmax(weighted.balance, 0)
    low = s @ weighted.down.weight.T @ weighted.out.weight.T
    torch.testing.assert_close(weighted.write(s, y), a * y + b * (s + low))
    weighted.reset_parameters()
    torch.testing.assert_close(weighted.write(s, y), y + s + low)


@pytest.mark.parametrize("dynamic", [False, True])
def test_hyper_connections_are_the_papers_matrix(dynamic):
    n = 3
    made = part("hyper_connections", streams=n, dynamic=dynamic)
    torch.manual_seed(2)
    s, y = torch.randn(2, 4, n, D).double(), torch.randn(2, 4, D).double()
    for row in range(2):
        for t in range(4):
            h = s[row, t]
            a_m, a_r, b = made.read_weights, made.mix_weights, made.write_weights
            if dynamic:
                normed = F.layer_norm(h, (D,))
                alpha, beta = made.factors
                a_m = a_m + alpha * torch.tanh(normed @ made.read_by.weight.T)[:, 0]
                a_r = a_r + alpha * torch.tanh(normed @ made.mix_by.weight.T)
                b = b + beta * torch.tanh(normed @ made.write_by.weight.T)[:, 0]
            torch.testing.assert_close(made.read(s)[row, t], a_m @ h)
            torch.testing.assert_close(made.write(s, y)[row, t], a_r.T @ h + torch.outer(b, y[row, t]))


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("streams", [1, 4])
def test_hyper_connections_begin_as_plain_residuals(dynamic, streams):
    """With one stream, or before anything is learned with several, the sum of streams is n times the plain stream (paper, section 2.3)."""
    made = build("residual", "hyper_connections", d_model=D, place=Place(2, 8), streams=streams, dynamic=dynamic).double()
    with torch.no_grad():
        for name, p in made.named_parameters():
            if "_by" in name:
                p.zero_()
    x, y = pair()
    s = made.open(x)
    assert s.shape == (2, 3, streams, D)
    torch.testing.assert_close(made.read(s), x)
    torch.testing.assert_close(made.close(made.write(s, y)), streams * (x + y))


@pytest.mark.parametrize("options", [{}, {"dynamic": False}, {"streams": 2}])
def test_hyper_connections_flops(options):
    model = build(
        "model",
        "decoder",
        vocab_size=20,
        d_model=32,
        n_layers=2,
        context_length=16,
        attention={"name": "gqa", "n_heads": 4},
        residual={"name": "hyper_connections", **options},
    )
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model(torch.zeros(1, 12, dtype=torch.long))
    assert flops_of(model, Work(12)).executed == counter.get_total_flops()


def test_drop_path_by_depth_and_by_sequence():
    assert [part("drop_path", Place(i, 4), rate=0.4).rate for i in range(4)] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert part("drop_path", Place(0, 4), rate=0.4, over_depth="constant").rate == 0.4
    made = part("drop_path", Place(0, 1), rate=0.25).train()
    s, y = torch.zeros(4000, 2, D).double(), torch.ones(4000, 2, D).double()
    torch.manual_seed(0)
    out = made.write(s, y)
    kept = out[:, 0, 0] != 0
    assert kept.double().mean() == pytest.approx(0.75, abs=0.03)
    torch.testing.assert_close(out, (kept.double() / 0.75)[:, None, None].expand_as(out))  # whole sequences, scaled
    torch.manual_seed(0)
    assert torch.equal(made.write(s, y), out)
    assert torch.equal(made.eval().write(s, y), y)


def test_drop_path_under_checkpointing_drops_the_same():
    grads = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = build(
            "model",
            "decoder",
            vocab_size=20,
            d_model=32,
            n_layers=2,
            context_length=8,
            residual={"name": "drop_path", "rate": 0.5},
        )
        for module in model.modules():
            if isinstance(module, Layer):
                module.checkpointing = checkpointing
        torch.manual_seed(1)
        model.train()(torch.arange(16).view(2, 8)).square().sum().backward()
        grads.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("name", ["layer_scale", "re_zero", "gated", "highway", "laurel", "hyper_connections"])
def test_the_stacks_own_has_nothing_to_learn(name):
    made = build("residual", name, **({} if name == "re_zero" else {"d_model": D}))
    assert not list(made.parameters())
    x, _ = pair()
    assert made.close(made.open(x)).shape == x.shape


def fits(block, residual):
    """As the composer has it: without a residual only the last of branches side by side would be heard."""
    needed = registry.entry("residual", residual).signature.declared.get("needs", {}).get("block", [])
    return set(needed) <= {*registry.entry("block", block).signature.declared.get("provides", ())}


@pytest.mark.parametrize(("block", "residual"), [(b, r) for r in RESIDUALS for b in BLOCKS if fits(b, r)])
def test_every_block_with_every_residual(block, residual):
    sizes = {"vocab_size": 20, "d_model": 32, "n_layers": 2, "context_length": 8, "attention": {"name": "gqa", "n_heads": 4}}
    model = build("model", "decoder", **sizes, block=block, residual=residual)
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.1)
    ids = torch.randint(0, 20, (4, 8))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(8):
        torch.manual_seed(3)
        loss = F.cross_entropy(model.train()(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    model = model.double().eval()
    changed = ids.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 20
    before, after = model(ids), model(changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.equal(before[:, 5:], after[:, 5:])
    assert math.isfinite(losses[-1])


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_with_a_memory_and_a_widened_stream(block):
    from components.core.sockets import Batch

    model = build(
        "model", "encoder_decoder", vocab_size=20, d_model=32, context_length=8, attention={"name": "gqa", "n_heads": 4}, block=block, residual="hyper_connections"
    )  # fmt: skip
    ids = torch.arange(8)[None] % 20
    a, b = (model(Batch(ids, source=Batch(source))) for source in (ids, ids + 1))
    assert a.shape == (1, 8, 20)
    assert not torch.allclose(a, b)


@pytest.mark.parametrize("block", [b for b in BLOCKS if not fits(b, "none")])
def test_side_by_side_and_without_a_residual_one_branch_is_not_heard(block):
    """Why the composer refuses them."""
    sizes = {"d_model": 32, "n_layers": 2, "context_length": 8, "attention": {"name": "gqa", "n_heads": 4}}
    model = make({"name": "decoder", **sizes, "block": block, "residual": "none"}, "model", vocab_size=20)
    model(torch.randint(0, 20, (4, 8))).sum().backward()
    unheard = {n for n, p in model.named_parameters() if p.grad is None}
    assert {f"stack.layers.{i}.block.attention.out.weight" for i in range(2)} <= unheard


def test_only_blocks_side_by_side_need_a_residual():
    assert [b for b in BLOCKS if not fits(b, "none")] == ["parallel", "parallel_two_norms"]
    assert all(fits(b, r) for b in BLOCKS for r in RESIDUALS if r != "none")
