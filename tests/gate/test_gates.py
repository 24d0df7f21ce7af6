"""Gates: a sigmoid of attention's input on what was read, by channel or by head."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from components import build
from components.core.flops import Work, flops_of
from components.core.sockets import SequenceInfo

B, T, D, H, K = 2, 5, 12, 3, 4
INFO = SequenceInfo(positions=torch.arange(T)[None])


def gate(name, **options):
    return build("gate", name, **{"d_model": D, "n_heads": H, "head_dim": K, **options})


@pytest.mark.parametrize("bias", [False, True])
def test_elementwise_scales_every_channel(bias):
    part, read, x = gate("elementwise", bias=bias), torch.randn(B, T, H, K), torch.randn(B, T, D)
    out = part(read, x, INFO)
    for h in range(H):
        for c in range(K):
            row = h * K + c
            score = x @ part.gates.weight[row] + (part.gates.bias[row] if bias else 0.0)
            torch.testing.assert_close(out[..., h, c], read[..., h, c] / (1 + torch.exp(-score)))


@pytest.mark.parametrize("bias", [False, True])
def test_headwise_scales_every_head(bias):
    part, read, x = gate("headwise", bias=bias), torch.randn(B, T, H, K), torch.randn(B, T, D)
    out = part(read, x, INFO)
    for h in range(H):
        score = x @ part.gates.weight[h] + (part.gates.bias[h] if bias else 0.0)
        torch.testing.assert_close(out[..., h, :], read[..., h, :] / (1 + torch.exp(-score))[..., None])


@pytest.mark.parametrize(("name", "width"), [("elementwise", H * K), ("headwise", H)])
def test_attention_counts_its_gate(name, width):
    part, plain = (build("attention", "gqa", d_model=D, n_heads=H, position="none", gate=g) for g in (name, "none"))
    counts = []
    for attention in (part, plain):
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            attention(torch.randn(1, T, D), INFO)
        assert counter.get_total_flops() == flops_of(attention, Work(T)).executed
        counts.append(counter.get_total_flops())
    assert counts[0] - counts[1] == 2 * T * D * width


@pytest.mark.parametrize("name", ["elementwise", "headwise"])
def test_the_gate_reads_attentions_input_and_acts_before_the_projection(name):
    part = build("attention", "gqa", d_model=D, n_heads=H, position="none", gate=name)
    x = torch.randn(B, T, D)
    seen = {}
    part.out.register_forward_pre_hook(lambda _, args: seen.update(out=args[0]))
    part(x, INFO)
    gated = seen["out"]
    part.gated = False
    part(x, INFO)
    torch.testing.assert_close(gated, part.gate(seen["out"].unflatten(-1, (H, -1)), x, INFO).flatten(2))
