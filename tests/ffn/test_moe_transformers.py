"""Mixture of experts against the classes of transformers that the known models use."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch

from components import build
from components.core.sockets import SequenceInfo
from components.functional.routing import balance_loss, token_choice

transformers = pytest.importorskip("transformers")
D, E, FF, WIDE = 16, 8, 12, 20
COMMON = {"hidden_size": D, "num_attention_heads": 4, "num_experts_per_tok": 2}
SHARED = {"name": "glu", "d_ff": WIDE}
# module, block, config, its arguments, ours
MODELS = {
    "mixtral": ("MixtralSparseMoeBlock", "MixtralConfig", {"num_local_experts": E, "intermediate_size": FF}, {}),
    "qwen3_moe": (
        "Qwen3MoeSparseMoeBlock",
        "Qwen3MoeConfig",
        {"num_experts": E, "moe_intermediate_size": FF, "norm_topk_prob": False},
        {"router": {"name": "softmax_top_k", "renormalise": False}},
    ),
    "qwen3_next": (
        "Qwen3NextSparseMoeBlock",
        "Qwen3NextConfig",
        {"num_experts": E, "moe_intermediate_size": FF, "norm_topk_prob": True, "shared_expert_intermediate_size": WIDE},
        {"shared": SHARED, "shared_gate": True},
    ),
    "deepseek_v2": (
        "DeepseekV2Moe",
        "DeepseekV2Config",
        {
            "n_routed_experts": E, "moe_intermediate_size": WIDE // 2, "n_shared_experts": 2, "n_group": 4, "topk_group": 2,
            "topk_method": "group_limited_greedy", "routed_scaling_factor": 16.0, "norm_topk_prob": False,
        },
        {
            "d_ff": WIDE // 2, "router": {"name": "softmax_top_k", "renormalise": False, "n_groups": 4, "top_groups": 2},
            "routed_scale": 16.0, "shared": SHARED,
        },
    ),
    "deepseek_v3": (
        "DeepseekV3MoE",
        "DeepseekV3Config",
        {
            "n_routed_experts": E, "moe_intermediate_size": WIDE, "n_shared_experts": 1, "n_group": 4, "topk_group": 2,
            "routed_scaling_factor": 2.5, "norm_topk_prob": True,
        },
        {
            "d_ff": WIDE, "router": {"name": "sigmoid_top_k", "n_groups": 4, "top_groups": 2},
            "routed_scale": 2.5, "shared": SHARED,
        },
    ),
    "gpt_oss": (
        "GptOssMLP",
        "GptOssConfig",
        {"num_local_experts": E, "intermediate_size": FF},
        {"router": {"name": "top_k_softmax", "bias": True}, "expert": "clamped_glu", "bias": True},
    ),
    "llama4": (
        "Llama4TextMoe",
        "Llama4TextConfig",
        {"num_local_experts": E, "intermediate_size": WIDE, "num_experts_per_tok": 1},
        {
            "d_ff": WIDE, "router": {"name": "sigmoid_top_k", "k": 1, "renormalise": False, "rate": 0.0},
            "weigh": "input", "shared": SHARED,
        },
    ),
}  # fmt: skip


def translated(name, theirs):
    """{our name: tensor} of a block of transformers: every entry is used, and nothing else there is."""
    state, ours = dict(theirs.state_dict()), {}
    gate_up, out = state.pop("experts.gate_up_proj"), state.pop("experts.down_proj")
    if name == "gpt_oss":
        ours["gate.weight"], ours["up.weight"] = gate_up[..., ::2], gate_up[..., 1::2]
        bias = state.pop("experts.gate_up_proj_bias")
        ours["gate_bias.bias"], ours["up_bias.bias"] = bias[:, ::2], bias[:, 1::2]
        ours["out_bias.bias"] = state.pop("experts.down_proj_bias")
    elif name == "llama4":
        ours["gate.weight"], ours["up.weight"] = gate_up.chunk(2, -1)
    else:
        ours["gate.weight"], ours["up.weight"] = gate_up.mT.chunk(2, -1)
        out = out.mT
    ours["out.weight"] = out
    for key, value in state.items():
        key = key.replace("shared_experts.", "shared.").replace("shared_expert.", "shared.").replace("_proj.", ".")
        key = key.replace("shared.down.", "shared.out.").replace("shared_expert_gate.", "shared_gate.")
        if key.startswith(("gate.", "router.")):
            key = "router." + {"e_score_correction_bias": "correction"}.get(leaf := key.split(".")[1], f"logits.{leaf}")
        ours[key] = value
    return ours


@pytest.mark.parametrize("name", MODELS)
def test_it_is_transformers_block(name):
    block, config, arguments, options = MODELS[name]
    module = import_module(f"transformers.models.{name}.modeling_{name}")
    config = getattr(transformers, config)(**{**COMMON, **arguments})
    theirs = getattr(module, block)(config).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in (*theirs.parameters(), *theirs.buffers()):
            tensor.normal_(0.0, 0.4)
        x = torch.randn(3, 7, D)
        ours = build("ffn", "moe", d_model=D, n_experts=E, **{"d_ff": FF, **options}).eval()
        given = translated(name, theirs)
        if name == "llama4":
            given["router.correction"] = torch.zeros(E)
        ours.load_state_dict(given)
        want = theirs(x)
        want = want[0] if isinstance(want, tuple) else want
        torch.testing.assert_close(ours(x, SequenceInfo()), want.view_as(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
def test_balance_loss_is_theirs_by_experts_per_token(padded):
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    torch.manual_seed(0)
    logits, valid = torch.randn(21, E), (torch.rand(3, 7) > 0.3) if padded else None
    probabilities = logits.softmax(-1)
    flat = None if valid is None else valid.flatten()
    routing = token_choice(probabilities.topk(2).indices, torch.ones(21, 2), E, flat, logits, probabilities)
    total, weight = balance_loss(routing, flat, 1)
    theirs = load_balancing_loss_func((logits,), E, 2, None if valid is None else valid.long())
    torch.testing.assert_close(2 * total / weight, theirs)
