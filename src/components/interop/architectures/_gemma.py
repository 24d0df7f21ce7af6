"""What the generations of Gemma share: the base, and the layers of Gemma 2 and 3."""

from __future__ import annotations

from components.interop.architecture import Rule
from components.interop.architectures._common import ATTENTION, GLU, decoder_sizes, head_dim, stack, tied, unused
from components.interop.architectures._llama import BASE, BIAS, DROPOUT, ENDS
from components.interop.fields import Custom, Fields, Get, Mapped, Options, Same, Theirs, value_of

GELU = {"gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh"}
GEMMA = {
    "model": {
        **BASE["model"],
        "norm": {"name": "rms", "unit_offset": True},
        "embedding": {"name": "token", "scale": "sqrt"},
        "ffn": {"name": "glu", "activation": "gelu_tanh"},
    }
}
SANDWICH = {"model": {**GEMMA["model"], "block": "sandwich"}}


def _read_scale(config: Theirs) -> Options:
    scalar = value_of(config, "query_pre_attn_scalar", 256)
    return {"model.attention.scale": None if scalar == value_of(config, "head_dim", 256) else scalar**-0.5}


def _write_scale(get: Get) -> Fields:
    scale = get("model.attention.scale")
    width = get("model.attention.head_dim") or get("model.d_model") // get("model.attention.n_heads")
    return {"query_pre_attn_scalar": width if scale is None else round(scale**-2)}


FIELDS = (
    *decoder_sizes(),
    Same("num_key_value_heads", "model.attention.n_kv_heads", 4),
    head_dim(256),
    Custom(("query_pre_attn_scalar",), _read_scale, _write_scale),
    Same("final_logit_softcapping", "model.head.soft_cap", 30.0),
    Same("rms_norm_eps", "model.norm.eps", 1e-6),
    Mapped("hidden_activation", "model.ffn.activation", GELU, "gelu_pytorch_tanh"),
    unused("hidden_act", *GELU, "gelu"),
    unused("use_bidirectional_attention", False),
    BIAS,
    DROPOUT,
    tied(True),
)
NORMS = tuple(
    Rule(f"model.layers.{{i}}.{theirs}_layernorm.weight", stack(f"{ours}.weight"))
    for theirs, ours in (
        ("input", "attention_norm"),
        ("post_attention", "attention_output_norm"),
        ("pre_feedforward", "ffn_norm"),
        ("post_feedforward", "ffn_output_norm"),
    )
)
TENSORS = (*ENDS, *ATTENTION, *GLU, *NORMS)
