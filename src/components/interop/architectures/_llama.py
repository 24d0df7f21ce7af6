"""What the descendants of Llama's class share: base, fields, names of tensors."""

from __future__ import annotations

from components.interop.architecture import Rule
from components.interop.architectures._common import (
    ATTENTION,
    GLU,
    stack,
)
from components.interop.fields import Custom, Fields, Get, Mapped, Options, Same, Theirs, value_of

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
KV_HEADS = Same("num_key_value_heads", "model.attention.n_kv_heads", None)
QKV_BIAS = Mapped("attention_bias", "model.attention.bias", {False: [], True: ["q", "k", "v"]}, False)
MLP_BIAS = Same("mlp_bias", "model.ffn.bias", False)
BIAS = Mapped("attention_bias", "model.attention.bias", {False: [], True: ["q", "k", "v", "out"]}, False)
DROPOUT = Same("attention_dropout", "model.attention.dropout", 0.0)
SILU = Mapped("hidden_act", "model.ffn.activation", {"silu": "silu"}, "silu")
ENDS = (
    Rule("model.embed_tokens.weight", "embedding.table.weight"),
    Rule("model.norm.weight", "stack.final_norm.weight"),
    Rule("lm_head.weight", "head.logits.weight"),
)
LAYER_ENDS = (*ENDS, Rule("model.norm.bias", "stack.final_norm.bias"))
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
QK = {"model": {**BASE["model"], "attention": {"name": "gqa", "qk_norm": "rms"}}}
EPS = ("model.norm.eps", "model.attention.qk_norm.eps")  # of a model whose heads are normed, too
QK_NORMS = tuple(Rule(f"model.layers.{{i}}.self_attn.{n}.weight", stack(f"attention.{n}.weight")) for n in ("q_norm", "k_norm"))


def biases(theirs: str, default: bool) -> Custom:
    """One field for the biases of all projections."""

    def read(config: Theirs) -> Options:
        biased = bool(value_of(config, theirs, default))
        return {"model.attention.bias": ["q", "k", "v", "out"] * biased, "model.ffn.bias": biased}

    return Custom((theirs,), read, lambda get: {theirs: get("model.ffn.bias")})


def norms_by_choice(flag: str, eps: str, default: float, over: str = "head", chosen: bool = False, **node: object) -> Custom:
    """The eps of all norms, and a field that says whether heads are normed too: with ``node``, and the model's eps. ``chosen``: the class's default."""

    def read(config: Theirs) -> Options:
        width = value_of(config, eps, default)
        held = {"model.attention.qk_norm": {**node, "eps": width}, "model.attention.qk_norm_over": over}
        return {"model.norm.eps": width, **(held if value_of(config, flag, chosen) else {})}

    def write(get: Get) -> Fields:
        return {eps: get("model.norm.eps"), flag: get("model.attention.qk_norm.name") == node["name"]}

    return Custom((eps, flag), read, write)
