"""Retention, gated linear, lightning and Kimi delta attention, and mLSTM against their papers' formulas, written out here: 256 positions, every gradient, fp64."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from mixer_tools import check_documents_and_padding, counted, drawn, reported
from torch import Tensor

from components import build
from components.core.sockets import Place, SequenceInfo

D, T, HEADS = 32, 256, 4
Weights = dict[str, Tensor]


def retention(x: Tensor, w: Weights) -> Tensor:
    """Sun et al. 2023, arXiv:2307.08621, eq. 5 and 8: the parallel form, with e^(i n theta) as a complex number."""
    n = torch.arange(T, dtype=torch.float64)
    width = D // HEADS
    theta = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    turn = torch.polar(torch.ones(T, width // 2, dtype=torch.float64), n[:, None] * theta)
    q, k = (torch.view_as_complex((x @ w[f"{name}.weight"].T).view(-1, T, HEADS, width // 2, 2)) for name in "qk")
    q, k = q * turn[:, None], k * turn[:, None]
    v = (x @ w["v.weight"].T).view(-1, T, HEADS, 2 * width)
    read = []
    for h in range(HEADS):
        gamma = 1 - 2.0 ** (-5 - h)
        later = n[:, None] - n
        decay = torch.where(later >= 0, gamma ** later.clamp(min=0), 0.0)
        read.append(((q[:, :, h] @ k[:, :, h].conj().mT).real * decay) @ v[:, :, h])
    y = torch.cat(read, -1)  # what eq. 8 norms in groups of one head; the scale of scores is lost in the norm
    scores = math.sqrt(width)
    y = F.group_norm(y.flatten(0, 1) / scores, HEADS, w["output_norm.weight"].flatten(), w["output_norm.bias"].flatten())
    return (F.silu(x @ w["z.weight"].T) * y.view(-1, T, 2 * D)) @ w["out.weight"].T


def gla(x: Tensor, w: Weights) -> Tensor:
    """Yang et al. 2023, arXiv:2312.06635, eq. 3 and section 4.4: one position after another, alpha = sigmoid(x W1 W2 + b)^(1/16)."""
    keys, values = D // 2 // HEADS, D // HEADS
    alpha = (1 / (1 + torch.exp(-(x @ w["decay_down.weight"].T @ w["decay_up.weight"].T + w["decay_up.bias"])))) ** (1 / 16)
    q, k, v = (x @ w[f"{name}.weight"].T for name in "qkv")
    rows = []
    for b in range(len(x)):
        state = torch.zeros(HEADS, keys, values, dtype=torch.float64)
        for t in range(T):
            state = alpha[b, t].view(HEADS, keys, 1) * state + k[b, t].view(HEADS, keys, 1) * v[b, t].view(HEADS, 1, values)
            read = (q[b, t].view(HEADS, 1, keys) @ state).squeeze(1) / math.sqrt(keys)
            rows.append(read / torch.sqrt((read * read).mean(-1, keepdim=True) + 1e-6) * w["output_norm.weight"])
    y = torch.stack(rows).view(len(x), T, D)
    gate = x @ w["z.weight"].T
    return (gate / (1 + torch.exp(-gate)) * y) @ w["out.weight"].T


def lightning(x: Tensor, w: Weights) -> Tensor:
    """MiniMax 2025, arXiv:2501.08313: the product without chunks, as a matrix of decays for each head; rates of layer 1 of 3: 2^(-8 (h + 1) / H) (1 - 1 / 2)."""
    n, width = torch.arange(T, dtype=torch.float64), D // HEADS
    q, k, v = (F.silu(x @ w[f"{name}.weight"].T).view(-1, T, HEADS, width) for name in "qkv")
    read = []
    for h in range(HEADS):
        rate = 2 ** (-8 * (h + 1) / HEADS) * (1 - 1 / (2 + 1e-5) + 1e-5)
        decay = torch.exp(-rate * (n[:, None] - n)).tril()
        read.append(((q[:, :, h] @ k[:, :, h].mT) * decay) @ v[:, :, h])
    y = torch.cat(read, -1)
    y = y / torch.sqrt((y * y).mean(-1, keepdim=True) + 1e-6) * w["output_norm.weight"]
    return (torch.sigmoid(x @ w["z.weight"].T) * y) @ w["out.weight"].T


def kda(x: Tensor, w: Weights) -> Tensor:
    """Kimi Team 2025, arXiv:2510.26692: S = (I - beta k k^T) Diag(alpha) S + beta k v^T, o = S^T q, one position after another."""
    width = D // HEADS

    def tapped(name: str) -> Tensor:
        y, taps = x @ w[f"{name}.weight"].T, w[f"{name}_conv.taps"]
        y = sum(F.pad(y, (0, 0, 3 - i, 0))[:, :T] * taps[:, i] for i in range(4))
        return (y * torch.sigmoid(y)).view(-1, T, HEADS, width)

    q, k, v = tapped("q"), tapped("k"), tapped("v")
    q, k = (y / torch.sqrt((y * y).sum(-1, keepdim=True) + 1e-6) for y in (q, k))
    rates = torch.log(1 + torch.exp(x @ w["decay_down.weight"].T @ w["decay_up.weight"].T + w["dt_bias"])).view(
        -1, T, HEADS, width
    )
    alpha, beta = torch.exp(-torch.exp(w["A_log"])[:, None] * rates), torch.sigmoid(x @ w["b.weight"].T)
    state, read = torch.zeros(len(x), HEADS, width, width, dtype=torch.float64), []
    for t in range(T):
        at, bt = k[:, t, :, :, None], beta[:, t, :, None, None]
        erase = torch.eye(width, dtype=torch.float64) - bt * at @ at.mT
        state = erase @ (alpha[:, t, :, :, None] * state) + bt * at @ v[:, t, :, None]
        read.append((q[:, t, :, None] @ state)[:, :, 0] / math.sqrt(width))
    o = torch.stack(read, 1)
    o = o / torch.sqrt((o * o).mean(-1, keepdim=True) + 1e-6) * w["output_norm.weight"]
    return (o.flatten(2) * torch.sigmoid(x @ w["z_down.weight"].T @ w["z_up.weight"].T)) @ w["out.weight"].T


def mlstm(x: Tensor, w: Weights) -> Tensor:
    """Beck et al. 2024, arXiv:2405.04517, appendix A.3: all positions at once, by a matrix of gates for each head, and no exponent taken out of anything."""
    keys, values = D // 2 // HEADS, D // HEADS
    capped = (15 * torch.tanh((x @ w[f"{g}_gate.weight"].T + w[f"{g}_bias"]) / 15) for g in ("input", "forget"))
    write, keep = (next(capped), torch.log(torch.sigmoid(next(capped))).cumsum(1))
    q, k, v = ((x @ w[f"{name}.weight"].T).view(-1, T, HEADS, width) for name, width in zip("qkv", (keys, keys, values)))
    read = []
    for h in range(HEADS):
        gates = torch.exp((keep[:, :, None, h] - keep[:, None, :, h] + write[:, None, :, h]).tril()).tril()
        scores = q[:, :, h] @ k[:, :, h].mT / math.sqrt(keys) * gates
        y = scores @ v[:, :, h] / scores.sum(-1, keepdim=True).abs().clamp(min=1)
        read.append(F.layer_norm(y, (values,)) * w["output_norm.weight"][h] + w["output_norm.bias"][h])
    return (torch.sigmoid(x @ w["z.weight"].T) * torch.cat(read, -1)) @ w["out.weight"].T


@pytest.mark.parametrize(
    ("name", "paper", "options", "atol"),
    [
        ("retention", retention, {"position": "rope"}, 1e-5),  # rope keeps its angles in fp32: 256 of them times 6e-8
        ("gla", gla, {}, 1e-10),
        ("lightning", lightning, {"place": Place(1, 3)}, 1e-10),
        ("mlstm", mlstm, {"eps": 1e-12}, 1e-9),
        ("kda", kda, {}, 1e-10),
    ],
)
def test_the_part_is_its_papers_formula_with_its_gradients(name, paper, options, atol):
    part = build("attention", name, d_model=D, context_length=T, n_heads=HEADS, **options).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in part.parameters():
            p.add_(torch.empty_like(p).normal_(0, 0.2, generator=generator))
    x, weight_of_y = (torch.randn(2, T, D, dtype=torch.float64, generator=generator) for _ in range(2))
    copies = {n: p.detach().clone().requires_grad_() for n, p in part.named_parameters()}
    mine, its = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, wanted = part(mine, SequenceInfo(positions=torch.arange(T)[None])), paper(its, copies)
    torch.testing.assert_close(y, wanted, rtol=1e-7, atol=atol)
    ((y * weight_of_y).sum() / T).backward()
    ((wanted * weight_of_y).sum() / T).backward()
    torch.testing.assert_close(mine.grad, its.grad, rtol=1e-7, atol=atol)
    for n, p in part.named_parameters():
        assert copies[n].grad is not None, n
        assert copies[n].grad.abs().max() > 1e-6, n
        torch.testing.assert_close(p.grad, copies[n].grad, rtol=1e-7, atol=atol, msg=lambda text, n=n: f"{n}: {text}")


def test_lightning_keeps_the_more_the_later_a_layer_is():
    kept = [build("attention", "lightning", d_model=D, place=Place(i, 4)).rates(torch.ones(1)).neg().exp() for i in range(4)]
    assert all((later > earlier).all() for earlier, later in pairwise(kept))
    assert (kept[-1] > 0.9999).all()
    assert (kept[-1] < 1).all()
    alone = build("attention", "lightning", d_model=D).rates(torch.ones(1))
    torch.testing.assert_close(alone, torch.tensor([2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_documents_and_padding_of_lightning(chunk):
    check_documents_and_padding(drawn("lightning", place=Place(1, 3)), chunk)


def test_flops_of_lightning():
    part = drawn("lightning", head_dim=6)
    assert reported(part, 9).executed == counted(part, 9)


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_documents_and_padding_of_mlstm(chunk):
    check_documents_and_padding(drawn("mlstm"), chunk)


def test_flops_of_mlstm():
    part = drawn("mlstm", expand_v=0.75)
    assert reported(part, 9).executed == counted(part, 9)


def test_first_gates_of_mlstm_keep_long_and_write_little():
    part = build("attention", "mlstm", d_model=D, forget_bias=(2.0, 5.0))
    torch.testing.assert_close(part.forget_bias.data, torch.tensor([2.0, 3.0, 4.0, 5.0]))
    assert (part.input_bias == -10).all()


@pytest.mark.parametrize("size", [-300.0, 300.0])
def test_exponentials_of_mlstm_stay_in_range(size):
    """exp(300) is no number of fp32. Where all is written so strongly, what is read is a mean of values; where so weakly, nothing."""
    part = build("attention", "mlstm", d_model=D, gate_cap=None, input_bias=size, output_norm="none")
    x = torch.randn(2, 70, D, generator=torch.Generator().manual_seed(3)).requires_grad_()
    y = part(x)
    y.square().sum().backward()
    assert y.isfinite().all()
    assert all(p.grad.isfinite().all() for p in (x, *part.parameters()))
    assert (y.abs().max() > 1e-2) == (size > 0)
