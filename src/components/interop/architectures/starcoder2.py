"""StarCoder2 (Lozhkov et al. 2024, arXiv:2402.19173): layer norms, biases everywhere, no gate, a window if asked for."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, decoder_sizes, in_each, rope, tied
from components.interop.architectures._llama import BASE, DROPOUT, FILES
from components.interop.architectures._windows import every_layer
from components.interop.fields import ACTIVATIONS, Custom, Mapped, Options, Same, Theirs

NAMES = {
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.c_fc": "ffn.up",
    "mlp.c_proj": "ffn.out",
}


def _read(config: Theirs) -> Options:
    biased = bool(config.get("use_bias", True))
    return {"model.attention.bias": ["q", "k", "v", "out"] * biased, "model.ffn.bias": biased}


ARCHITECTURE = Architecture(
    names=("Starcoder2ForCausalLM",),
    model_type="starcoder2",
    base={"model": {**BASE["model"], "norm": "layer", "ffn": "mlp"}},
    fields=(
        *decoder_sizes(),
        *(DROPOUT, rope(partial=False), every_layer(None), tied(True)),
        Same("num_key_value_heads", "model.attention.n_kv_heads", 2),
        Custom(("use_bias",), _read, lambda get: {"use_bias": get("model.ffn.bias")}),
        Mapped("hidden_act", "model.ffn.activation", {"gelu_pytorch_tanh": "gelu_tanh", **ACTIVATIONS}, "gelu_pytorch_tanh"),
        Same("norm_epsilon", "model.norm.eps", 1e-5),
        Same("residual_dropout", "model.residual.dropout", 0.0),
        Same("embedding_dropout", "model.embedding.dropout", 0.0),
    ),
    tensors=(
        Rule("model.embed_tokens.weight", "embedding.table.weight"),
        Rule("model.norm.{p}", "stack.final_norm.{p}"),
        Rule("lm_head.weight", "head.logits.weight"),
        *ATTENTION,
        *in_each("model.layers.{i}.", NAMES),
    ),
    **FILES,
)
