"""Mixtral (Jiang et al. 2024, arXiv:2401.04088): Mistral with eight experts a layer, of which each token passes through two.

Hub and ``save_pretrained`` name experts' matrices alike. A router's noise (``router_jitter_noise``) and loss are training's.
"""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, HEAD_DIM, TIED, decoder_sizes, rope, stack
from components.interop.architectures._moe import EMBEDDED, FREE, MOE, attention_fields, count, experts
from components.interop.architectures._windows import every_layer
from components.interop.fields import Same

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
        *attention_fields(8),
        HEAD_DIM,
        rope(1e6, partial=False),
        count("num_local_experts", "num_experts"),
        Same("num_experts_per_tok", "model.ffn.router.k", 2),
        Same("rms_norm_eps", "model.norm.eps", 1e-5),
        every_layer(None),
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
