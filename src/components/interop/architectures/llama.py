"""Llama 1 to 3.2 (Touvron et al. 2023, arXiv:2302.13971, 2307.09288; Dubey et al. 2024, arXiv:2407.21783), and what its kin share."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, GLU, HEAD_DIM, TIED, decoder_sizes, rope, stack
from components.interop.fields import Mapped, Same

BASE = {
    "model": {
        "name": "decoder",
        "position": {"name": "rope", "layout": "half"},
        "norm": "rms",
        "block": "pre_norm",
        "attention": "gqa",
        "ffn": {"name": "glu", "activation": "silu"},
    }
}
BIAS = Mapped("attention_bias", "model.attention.bias", {False: [], True: ["q", "k", "v", "out"]}, False)
DROPOUT = Same("attention_dropout", "model.attention.dropout", 0.0)
SILU = Mapped("hidden_act", "model.ffn.activation", {"silu": "silu"}, "silu")
ENDS = (
    Rule("model.embed_tokens.weight", "embedding.table.weight"),
    Rule("model.norm.weight", "stack.final_norm.weight"),
    Rule("lm_head.weight", "head.logits.weight"),
)
NORMS = (
    Rule("model.layers.{i}.input_layernorm.weight", stack("attention_norm.weight")),
    Rule("model.layers.{i}.post_attention_layernorm.weight", stack("ffn_norm.weight")),
)
TENSORS = (*ENDS, *ATTENTION, *GLU, *NORMS)
FILES = {
    "prefix": "model.",
    "copies": {"lm_head.weight": "model.embed_tokens.weight"},
    "ignored": ("model.layers.{i}.self_attn.rotary_emb.inv_freq",),
}
ARCHITECTURE = Architecture(
    names=("LlamaForCausalLM",),
    model_type="llama",
    base=BASE,
    fields=(
        *decoder_sizes(),
        Same("num_key_value_heads", "model.attention.n_kv_heads", None),
        HEAD_DIM,
        rope(partial=False),
        Same("rms_norm_eps", "model.norm.eps", 1e-6),
        SILU,
        BIAS,
        Same("mlp_bias", "model.ffn.bias", False),
        DROPOUT,
        TIED,
    ),
    tensors=TENSORS,
    **FILES,
)
