"""Persimmon (Adept 2023): GPT-NeoX's fused projections, squared ReLU, half of the channels turns, heads normed."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import TIED, decoder_sizes, in_each, rope
from components.interop.architectures._llama import BASE, DROPOUT, norms_by_choice
from components.interop.architectures._neox import EVERY, fused
from components.interop.fields import ACTIVATIONS, Constant, Mapped

NAMES = {
    **{
        "self_attn.dense": "attention.out",
        "self_attn.q_layernorm": "attention.q_norm",
        "self_attn.k_layernorm": "attention.k_norm",
    },
    **{"mlp.dense_h_to_4h": "ffn.up", "mlp.dense_4h_to_h": "ffn.out"},
    **{"input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm"},
}
PARTS = {"norm": "layer", "attention": {"name": "gqa", "bias": EVERY}, "ffn": {"name": "mlp", "bias": True}}
ARCHITECTURE = Architecture(
    names=("PersimmonForCausalLM",),
    model_type="persimmon",
    base={"model": {**BASE["model"], **PARTS}},
    fields=(
        *decoder_sizes(),
        *(DROPOUT, TIED, rope(share=0.5), Constant("hidden_dropout", 0.0)),
        norms_by_choice("qk_layernorm", "layer_norm_eps", 1e-5, chosen=True, name="layer"),
        Mapped("hidden_act", "model.ffn.activation", ACTIVATIONS, "relu2"),
    ),
    tensors=(
        Rule("model.embed_tokens.weight", "embedding.table.weight"),
        Rule("model.final_layernorm.{p}", "stack.final_norm.{p}"),
        Rule("lm_head.weight", "head.logits.weight"),
        fused("model.layers.{i}.self_attn.query_key_value"),
        *in_each("model.layers.{i}.", NAMES),
    ),
    prefix="model.",
    copies={"lm_head.weight": "model.embed_tokens.weight"},
)
