"""DeepSeek-V2 and V2-Lite (DeepSeek-AI 2024, arXiv:2405.04434): latent attention, softmax over experts, in groups or not.

Its class does not read ``norm_topk_prob``; DeepSeek's own code does, so only the value that both understand alike is taken.
"""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import rope
from components.interop.architectures._mla import MLA_FREE, TENSORS, fields
from components.interop.architectures._moe import MOE
from components.interop.fields import Constant, Custom, Fields, Get, Options, Theirs, Unsupported, value_of


def _read_groups(config: Theirs) -> Options:
    method = config.get("topk_method", "greedy")
    if method not in ("greedy", "group_limited_greedy"):
        raise Unsupported(f"topk_method={method!r}: there are 'greedy' and 'group_limited_greedy'")
    counts = [1 if method == "greedy" else value_of(config, n) for n in ("n_group", "topk_group")]
    return {"model.ffn.router.n_groups": counts[0], "model.ffn.router.top_groups": counts[1]}


def _write_groups(get: Get) -> Fields:
    groups, best = get("model.ffn.router.n_groups") or 1, get("model.ffn.router.top_groups")
    return {"n_group": groups, "topk_group": best, "topk_method": "greedy" if groups == 1 else "group_limited_greedy"}


ARCHITECTURE = Architecture(
    names=("DeepseekV2ForCausalLM",),
    model_type="deepseek_v2",
    base={
        "model": {
            "name": "decoder",
            "position": {"name": "rope", "layout": "interleaved"},
            "norm": "rms",
            "block": "pre_norm",
            "attention": {"name": "mla", "latent_norm": {"name": "rms", "eps": 1e-6}},
            "ffn": {**MOE, "router": {"name": "softmax_top_k", "renormalise": False}},
        }
    },
    fields=(
        *fields(dense=0),
        rope(partial=False),
        Custom(("topk_method", "n_group", "topk_group"), _read_groups, _write_groups),
        Constant("norm_topk_prob", False),
        Constant("scoring_func", "softmax"),
        Constant("mlp_bias", False),
    ),
    tensors=TENSORS,
    free=MLA_FREE,
    prefix="model.",
)
