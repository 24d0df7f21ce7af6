"""Mixtral (Jiang et al. 2024, arXiv:2401.04088): Mistral with eight experts a layer, of which each token passes through two.

Hub and ``save_pretrained`` name each expert's matrices alike. A router's noise (``router_jitter_noise``) and loss are training's.
"""

from __future__ import annotations

from typing import Any

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, HEAD_DIM, ROPE, TIED, decoder_sizes, stack
from components.interop.architectures._moe import EMBEDDED, FREE, MOE, attention_fields, count, experts
from components.interop.fields import Computed, Get, Same, Theirs


def _read_window(config: Theirs) -> dict[str, Any]:
    window = config.get("sliding_window")
    return {} if window is None else {"model.attention.mask": {"name": "sliding_window", "window": window}}


def _write_window(get: Get) -> dict[str, Any]:
    return {"sliding_window": get("model.attention.mask.window")}


ARCHITECTURE = Architecture(
    names=("MixtralForCausalLM",),
    model_type="mixtral",
    base={
        "model": {
            "name": "decoder",
            "position": {"name": "rope", "layout": "half"},
            "norm": "rms",
            "block": "pre_norm",
            "attention": "gqa",
            "ffn": {**MOE, "router": {"name": "softmax_top_k", "renormalise": True}},
        }
    },
    fields=(
        *decoder_sizes(),
        *attention_fields(),
        HEAD_DIM,
        *ROPE,
        count("num_local_experts", "num_experts"),
        Same("num_experts_per_tok", "model.ffn.router.k", 2),
        Same("rms_norm_eps", "model.norm.eps", 1e-5),
        Computed(("sliding_window",), _read_window, _write_window),
        TIED,
    ),
    tensors=(
        *EMBEDDED,
        *ATTENTION,
        *experts((("w1", "gate"), ("w3", "up"), ("w2", "out")), "block_sparse_moe.experts.{e}"),
        Rule("model.layers.{i}.block_sparse_moe.gate.weight", stack("ffn.router.logits.weight")),
    ),
    free=FREE,
    prefix="model.",
    copies={"lm_head.weight": "model.embed_tokens.weight"},
    ignored=("model.layers.{i}.self_attn.rotary_emb.inv_freq",),
)
