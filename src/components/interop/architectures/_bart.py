"""What BART and Marian share: the base, fields, names of tensors."""

from __future__ import annotations

from typing import Any

from components.interop.architecture import Rule
from components.interop.architectures._common import unused
from components.interop.architectures._encoders import EVERY, spread
from components.interop.fields import (
    ACTIVATIONS,
    Constant,
    Custom,
    Field,
    Fields,
    Get,
    Mapped,
    Options,
    Same,
    Theirs,
    Unsupported,
    value_of,
)
from components.interop.layouts import Reshaped

BASE: dict[str, Any] = {
    "name": "encoder_decoder",
    "norm": "layer",
    "block": "post_norm",
    "final_norm": "none",
    "attention": {"name": "gqa", "bias": EVERY},
    "ffn": {"name": "mlp", "bias": True},
    "decoder": "layers",
    "head": {"name": "tied", "bias": "fixed"},
}

# of a layer of a decoder that reads no source
NAMES = {
    **{f"self_attn.{n}_proj": f"attention.{n}" for n in ("q", "k", "v", "out")},
    **{"self_attn_layer_norm": "attention_norm", "final_layer_norm": "ffn_norm", "fc1": "ffn.up", "fc2": "ffn.out"},
}


def _depth() -> Custom:
    """A depth for each side."""

    def read(config: Theirs) -> Options:
        encoder, decoder = (value_of(config, f"{side}_layers", 12) for side in ("encoder", "decoder"))
        return {"model.n_layers": encoder, "model.decoder.n_layers": None if decoder == encoder else decoder}

    def write(get: Get) -> Fields:
        encoder = get("model.n_layers")
        return {"encoder_layers": encoder, "decoder_layers": get("model.decoder.n_layers") or encoder}

    return Custom(("encoder_layers", "decoder_layers", "num_hidden_layers"), read, write)


def _alike(name: str, ours: str, default: int) -> Custom:
    """A size that both sides have, each by a field of its own."""
    names = tuple(f"{side}_{name}" for side in ("encoder", "decoder"))

    def read(config: Theirs) -> Options:
        encoder, decoder = (value_of(config, n, default) for n in names)
        if encoder != decoder:
            raise Unsupported(f"{names[0]}={encoder}, {names[1]}={decoder}: both sides have the same here")
        return {ours: encoder}

    return Custom(names, read, lambda get: dict.fromkeys(names, get(ours)))


def fields(vocab_size: int, *, scaled: bool = False, pre_norm: bool = False) -> tuple[Field, ...]:
    """Of BART and Marian. ``scaled``: whether the class scales its embedding where nothing is said. ``pre_norm``: whether it is one."""
    return (
        Same("vocab_size", "vocab_size", vocab_size),
        Same("d_model", "model.d_model", 1024),
        _depth(),
        _alike("attention_heads", "model.attention.n_heads", 16),
        _alike("ffn_dim", "model.ffn.d_ff", 4096),
        Same("max_position_embeddings", "model.context_length", 1024),
        Mapped("activation_function", "model.ffn.activation", ACTIVATIONS, "gelu"),
        Mapped("scale_embedding", "model.embedding.scale", {False: 1.0, True: "sqrt"}, scaled),
        spread("dropout", "model.residual.dropout", "model.embedding.dropout", default=0.1),
        Same("attention_dropout", "model.attention.dropout", 0.0),
        Constant("is_decoder", False),
        Constant("tie_word_embeddings", True),
        # of the code before transformers 4, which had one class for several models
        *(unused(n, pre_norm) for n in ("normalize_before", "add_final_layer_norm")),
        unused("add_bias_logits", False),
    )


def tensors() -> tuple[Rule, ...]:
    """Of BART and Marian, positions and norms of embeddings apart."""
    rules = [
        Rule("model.shared.weight", "embedding.table.weight"),
        Rule("final_logits_bias", "head.bias", Reshaped((1, -1))),
    ]
    for side, branches in (("encoder", ("attention",)), ("decoder", ("attention", "cross"))):
        theirs, ours = f"model.{side}.layers.{{i}}.", f"{side}.layers.{{i}}.block."
        for name in branches:
            word = "self_attn" if name == "attention" else "encoder_attn"
            for a, b in (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("out_proj", "out")):
                rules.append(Rule(f"{theirs}{word}.{a}.{{p}}", f"{ours}{name}.{b}.{{p}}"))
            rules.append(Rule(f"{theirs}{word}_layer_norm.{{p}}", f"{ours}{name}_norm.{{p}}"))
        for a, b in (("fc1", "ffn.up"), ("fc2", "ffn.out"), ("final_layer_norm", "ffn_norm")):
            rules.append(Rule(f"{theirs}{a}.{{p}}", f"{ours}{b}.{{p}}"))
    return tuple(rules)


LEARNED = tuple(Rule(f"model.{s}.embed_positions.weight", f"{s}.positions.0.table.weight") for s in ("encoder", "decoder"))
SINUSOIDS = tuple(f"model.{s}.embed_positions.weight" for s in ("encoder", "decoder"))
EMBEDDING_NORMS = tuple(
    Rule(f"model.{s}.layernorm_embedding.{{p}}", f"{s}.embedding_norm.{{p}}") for s in ("encoder", "decoder")
)
FINAL_NORMS = tuple(Rule(f"model.{s}.layer_norm.{{p}}", f"{s}.final_norm.{{p}}") for s in ("encoder", "decoder"))
PRE_NORM = {**BASE, "block": "pre_norm", "final_norm": "inherit"}
FREE = ("activation_dropout", "classifier_dropout", "classif_dropout", "encoder_layerdrop", "decoder_layerdrop", "init_std")
FREE += ("extra_pos_embeddings", "force_bos_token_to_be_generated", "output_past", "save_step", "_num_labels")
GENERATION = (
    "num_beams",
    "max_length",
    "min_length",
    "length_penalty",
    "early_stopping",
    "no_repeat_ngram_size",
    "bad_words_ids",
)
COPIES = dict.fromkeys(
    ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"), "model.shared.weight"
)
COMMON: dict[str, Any] = {
    "free": frozenset((*FREE, *GENERATION)),
    "copies": COPIES,
    "zero": ("final_logits_bias",),
    "prefix": "model.",
}
