"""StarCoder2 (Lozhkov et al. 2024, arXiv:2402.19173): layer norms, biases everywhere, no gate, a window if asked for."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import ATTENTION, decoder_sizes, in_each, rope, tied
from components.interop.architectures._llama import BASE, DROPOUT, FILES, LAYER_ENDS, biases
from components.interop.architectures._windows import every_layer
from components.interop.fields import ACTIVATIONS, Mapped, Same

NAMES = {
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.c_fc": "ffn.up",
    "mlp.c_proj": "ffn.out",
}

ARCHITECTURE = Architecture(
    names=("Starcoder2ForCausalLM",),
    model_type="starcoder2",
    base={"model": {**BASE["model"], "norm": "layer", "ffn": "mlp"}},
    fields=(
        *decoder_sizes(),
        *(DROPOUT, rope(partial=False), every_layer(None), tied(True)),
        Same("num_key_value_heads", "model.attention.n_kv_heads", 2),
        biases("use_bias", True),
        Mapped("hidden_act", "model.ffn.activation", {"gelu_pytorch_tanh": "gelu_tanh", **ACTIVATIONS}, "gelu_pytorch_tanh"),
        Same("norm_epsilon", "model.norm.eps", 1e-5),
        Same("residual_dropout", "model.residual.dropout", 0.0),
        Same("embedding_dropout", "model.embedding.dropout", 0.0),
    ),
    tensors=(
        *LAYER_ENDS,
        *ATTENTION,
        *in_each("model.layers.{i}.", NAMES),
    ),
    **FILES,
)
