"""Nemotron-4 (Parmar et al. 2024, arXiv:2402.16819): squared ReLU, norms whose scale is 1 + weight, half of the channels turns."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, HEAD_DIM, decoder_sizes, rope, stack, tied
from components.interop.architectures._llama import BIAS, DROPOUT, FILES
from components.interop.fields import ACTIVATIONS, Mapped, Same

PARTS = {
    "position": {"name": "rope", "layout": "half"},
    "norm": "layer1p",
    "block": "pre_norm",
    "attention": "gqa",
    "ffn": "mlp",
}
NORMS = {
    "model.layers.{i}.input_layernorm": stack("attention_norm"),
    "model.layers.{i}.post_attention_layernorm": stack("ffn_norm"),
    "model.norm": "stack.final_norm",
}
ARCHITECTURE = Architecture(
    names=("NemotronForCausalLM",),
    model_type="nemotron",
    base={"model": {"name": "decoder", **PARTS}},
    fields=(
        *decoder_sizes(),
        Same("num_key_value_heads", "model.attention.n_kv_heads"),
        *(HEAD_DIM, BIAS, DROPOUT, rope(share=0.5), tied(False)),
        Mapped("hidden_act", "model.ffn.activation", ACTIVATIONS, "relu2"),
        Same("mlp_bias", "model.ffn.bias", False),
        Same("norm_eps", "model.norm.eps", 1e-5),
    ),
    tensors=(
        Rule("model.embed_tokens.weight", "embedding.table.weight"),
        *ATTENTION,
        *(Rule(f"model.layers.{{i}}.mlp.{a}_proj.{{p}}", stack(f"ffn.{b}.{{p}}")) for a, b in (("up", "up"), ("down", "out"))),
        *(Rule(f"{theirs}.weight", f"{ours}.scale") for theirs, ours in NORMS.items()),
        *(Rule(f"{theirs}.bias", f"{ours}.bias") for theirs, ours in NORMS.items()),
        Rule("lm_head.weight", "head.logits.weight"),
    ),
    **FILES,
)
