"""ModernBERT (Warner et al. 2024, arXiv:2412.13663): rotary positions, gated units, pre-norm, two windows to one full view.

Its first layer reads the normed embedding as it is. ``local_attention`` counts both sides, and half of it is seen on each.
"""

from __future__ import annotations

from typing import Any

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import stack, unused
from components.interop.architectures._encoders import EVERY, spread
from components.interop.architectures._windows import FULL, SLIDING, by_layer
from components.interop.fields import ACTIVATIONS, Custom, Fields, Get, Mapped, Options, Same, Theirs, value_of
from components.interop.layouts import Rows


def _kinds(config: Theirs) -> list[str]:
    every = config.get("global_attn_every_n_layers") or 3
    return [SLIDING if i % every else FULL for i in range(value_of(config, "num_hidden_layers", 22))]


NAMES = ("layer_types", "local_attention", "rope_parameters", "rope_scaling", "global_rope_theta", "local_rope_theta")
LAYERS = by_layer(_kinds, None, bases=(1e4, 1.6e5))


def _read(config: Theirs) -> Options:
    bases = {"rope_local_base_freq": config.get("local_rope_theta", 1e4), "rope_theta": config.get("global_rope_theta", 1.6e5)}
    return LAYERS.read({**config, **bases, "sliding_window": value_of(config, "local_attention", 128) // 2 + 1})


def _write(get: Get) -> Fields:
    made = {**LAYERS.write(get), "pad_token_id": None}  # the class's own may lie beyond the vocabulary
    window = made.pop("sliding_window")
    return made if window is None else {**made, "local_attention": 2 * (window - 1)}


def _qkv(p: str) -> tuple[str, ...]:
    return tuple(stack(f"attention.{n}.{p}") for n in "qkv")


def _layers(prefix: str) -> tuple[Rule, ...]:
    layer = f"{prefix}layers.{{i}}."
    return (
        Rule(f"{prefix}embeddings.tok_embeddings.weight", "embedding.table.weight"),
        Rule(f"{prefix}embeddings.norm.{{p}}", "stack.embedding_norm.{p}"),
        *(Rule(f"{layer}attn.Wqkv.{p}", _qkv(p), Rows()) for p in ("weight", "bias")),
        *(Rule(f"{layer}mlp.Wi.{p}", (stack(f"ffn.gate.{p}"), stack(f"ffn.up.{p}")), Rows()) for p in ("weight", "bias")),
        Rule(f"{layer}attn.Wo.{{p}}", stack("attention.out.{p}")),
        Rule(f"{layer}mlp.Wo.{{p}}", stack("ffn.out.{p}")),
        Rule(f"{layer}attn_norm.{{p}}", stack("attention_norm.{p}")),
        Rule(f"{layer}mlp_norm.{{p}}", stack("ffn_norm.{p}")),
        Rule(f"{prefix}final_norm.{{p}}", "stack.final_norm.{p}"),
    )


BASE: dict[str, Any] = {
    "name": "encoder",
    "position": {"name": "rope", "layout": "half"},
    "norm": "layer",
    "block": "pre_norm",
    "embedding_norm": "inherit",
    "attention": "gqa",
    "ffn": "glu",
    "layers": {"0": {"block": {"attention_norm": "none"}}},
}
FIELDS = (
    Same("vocab_size", "vocab_size", 50368),
    Same("hidden_size", "model.d_model", 768),
    Same("num_hidden_layers", "model.n_layers", 22),
    Same("num_attention_heads", "model.attention.n_heads", 12),
    Same("intermediate_size", "model.ffn.d_ff", 1152),
    Same("max_position_embeddings", "model.context_length", 8192),
    Mapped("hidden_activation", "model.ffn.activation", ACTIVATIONS, "gelu"),
    Mapped("attention_bias", "model.attention.bias", {False: [], True: EVERY}, False),
    Same("mlp_bias", "model.ffn.bias", False),
    Same("embedding_dropout", "model.embedding.dropout", 0.0),
    Same("attention_dropout", "model.attention.dropout", 0.0),
    Custom(NAMES, _read, _write),
    unused("position_embedding_type", "absolute", "rope"),
)
FREE = ("mlp_dropout", "classifier_pooling", "classifier_dropout", "deterministic_flash_attn", "layer_norm_eps")
FREE += ("sparse_prediction", "sparse_pred_ignore_index", "initializer_cutoff_factor", "reference_compile")
FREE += ("repad_logits_with_grad", "global_attn_every_n_layers")
ARCHITECTURE = (
    Architecture(
        names=("ModernBertForMaskedLM",),
        model_type="modernbert",
        base={"model": {**BASE, "head": {"name": "mlm", "norm": "layer", "output": "tied"}}, "loss": "masked_lm"},
        fields=(
            *FIELDS,
            spread("norm_eps", "model.norm.eps", "model.head.norm.eps", default=1e-5),
            spread("norm_bias", "model.norm.bias", "model.head.norm.bias", default=False),
            Mapped("classifier_activation", "model.head.activation", ACTIVATIONS, "gelu"),
            Same("classifier_bias", "model.head.dense_bias", False),
            Mapped("tie_word_embeddings", "model.head.output.name", {True: "tied", False: "linear"}, True),
            Same("decoder_bias", "model.head.output.bias", True),
        ),
        tensors=(
            *_layers("model."),
            Rule("head.dense.{p}", "head.dense.{p}"),
            Rule("head.norm.{p}", "head.norm.{p}"),
            Rule("decoder.bias", "head.output.bias"),
            Rule("decoder.{p}", "head.output.logits.{p}"),
        ),
        free=frozenset(FREE),
        copies={"decoder.weight": "model.embeddings.tok_embeddings.weight"},
    ),
    Architecture(
        names=("ModernBertModel",),
        model_type="modernbert",
        base={"model": {**BASE, "head": "none"}, "loss": "masked_lm"},
        fields=(*FIELDS, Same("norm_eps", "model.norm.eps", 1e-5), Same("norm_bias", "model.norm.bias", False)),
        tensors=_layers(""),
        free=frozenset((*FREE, "decoder_bias", "classifier_bias", "classifier_activation", "tie_word_embeddings")),
    ),
)
