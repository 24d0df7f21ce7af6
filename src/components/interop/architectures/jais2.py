"""Jais 2 (Inception, MBZUAI 2025): Llama with layer norms, squared ReLU without a gate, and biases."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import ATTENTION, HEAD_DIM, TIED, decoder_sizes, in_each, rope
from components.interop.architectures._llama import BASE, DROPOUT, FILES, KV_HEADS, LAYER_ENDS
from components.interop.fields import ACTIVATIONS, Mapped, Same

NAMES = {
    **{"mlp.up_proj": "ffn.up", "mlp.down_proj": "ffn.out"},
    **{"input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm"},
}
ARCHITECTURE = Architecture(
    names=("Jais2ForCausalLM",),
    model_type="jais2",
    base={"model": {**BASE["model"], "norm": "layer", "ffn": "mlp"}},
    fields=(
        *decoder_sizes(),
        *(KV_HEADS, HEAD_DIM, DROPOUT, TIED, rope(partial=False)),
        Mapped("attention_bias", "model.attention.bias", {True: ["q", "k", "v", "out"], False: []}, True),
        Mapped("hidden_act", "model.ffn.activation", ACTIVATIONS, "relu2"),
        Same("mlp_bias", "model.ffn.bias", True),
        Same("layer_norm_eps", "model.norm.eps", 1e-5),
    ),
    tensors=(*LAYER_ENDS, *ATTENTION, *in_each("model.layers.{i}.", NAMES)),
    **FILES,
)
