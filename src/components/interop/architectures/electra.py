"""ELECTRA (Clark et al. 2020, arXiv:2003.10555): BERT, whose tables may have a width of their own; generator, discriminator, and the bare model.

A matrix takes the sum of the tables, normed, to the model's width; where both widths are the same, there is none. The discriminator scores each token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._encoders import (
    BASE,
    MASKED,
    NARROW,
    NARROW_HEAD,
    NARROW_TABLES,
    RENAMED,
    TABLES,
    computed,
    embedded,
    spread,
    tensors,
)
from components.interop.fields import (
    ACTIVATIONS,
    Constant,
    Custom,
    Field,
    Fields,
    Get,
    Options,
    Same,
    Theirs,
    Unsupported,
    value_of,
)

WIDTH = 128
SIZES = (
    Same("vocab_size", "vocab_size", 30522),
    Same("hidden_size", "model.d_model", 256),
    Same("num_hidden_layers", "model.n_layers", 12),
    Same("num_attention_heads", "model.attention.n_heads", 4),
    Same("intermediate_size", "model.ffn.d_ff", 1024),
    Same("max_position_embeddings", "model.context_length", 512),
)
FREE = frozenset(
    ("summary_type", "summary_use_proj", "summary_activation", "summary_last_dropout", "classifier_dropout", "embedding_size")
)


def _width(config: Theirs) -> int:
    return value_of(config, "embedding_size", WIDTH)


def _narrow(config: Theirs) -> bool:
    return _width(config) != value_of(config, "hidden_size", 256)


def _read_width(config: Theirs) -> Options:
    return {"model.embedding.width": _width(config)}


def _write_width(get: Get) -> Fields:
    own = get("model.embedding.width") or get("model.d_model") // 4
    if own == get("model.d_model"):
        raise Unsupported(f"model.embedding.width={own} is the model's own: the class has no matrix between the two then")
    return {"embedding_size": own}


OWN_WIDTH = Custom(("embedding_size",), _read_width, _write_width)
SAME_WIDTH = Custom((), lambda _: {}, lambda get: {"embedding_size": get("model.d_model")})


def _class(
    name: str, narrow: bool, head: Mapping[str, Any] | str, rules: tuple[Rule, ...], norms: tuple[str, ...]
) -> Architecture:
    """One class in one of the two shapes. ``norms``: those of the head, ``rules``: its tensors."""
    prefix, path = ("" if name == "ElectraModel" else "electra."), "model.embedding.inner" if narrow else "model.embedding"
    own = ("model.embedding.norm.eps",) if narrow else ()
    acts = ("model.ffn.activation", *(("model.head.activation",) if name == "ElectraForPreTraining" else ()))
    tie: tuple[Field, ...] = (Constant("tie_word_embeddings", True),) if name == "ElectraForMaskedLM" else ()
    up = (Rule(f"{prefix}embeddings_project.{{p}}", "embedding.up.{p}"),) if narrow else ()
    return Architecture(
        names=(name,),
        model_type="electra",
        base={"model": {**(NARROW if narrow else BASE), "head": head}, "loss": "masked_lm"},
        fields=(
            *SIZES,
            OWN_WIDTH if narrow else SAME_WIDTH,
            *embedded(path),
            spread("layer_norm_eps", "model.norm.eps", *own, *norms, default=1e-12),
            spread("hidden_act", *acts, default="gelu", table=ACTIVATIONS),
            *tie,
        ),
        tensors=(*tensors(prefix, NARROW_TABLES if narrow else TABLES), *up, *rules),
        free=FREE if tie else FREE | {"tie_word_embeddings"},
        ignored=computed(prefix),
        copies={"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"} if tie else {},
        renamed=RENAMED,
        fits=lambda config: _narrow(config) == narrow,
    )


def _generator(narrow: bool) -> Architecture:
    dense, norm, bias = ("down", "norm", "bias") if narrow else ("dense", "norm", "output.bias")
    rules = (
        Rule("generator_predictions.dense.{p}", f"head.{dense}.{{p}}"),
        Rule("generator_predictions.LayerNorm.{p}", f"head.{norm}.{{p}}"),
        Rule("generator_lm_head.bias", f"head.{bias}"),
    )
    head = NARROW_HEAD if narrow else {**MASKED, "activation": "gelu"}
    return _class("ElectraForMaskedLM", narrow, head, rules, ("model.head.norm.eps",))


def _discriminator(narrow: bool) -> Architecture:
    rules = (
        Rule("discriminator_predictions.dense.{p}", "head.dense.{p}"),
        Rule("discriminator_predictions.dense_prediction.{p}", "head.amounts.{p}"),
    )
    return _class("ElectraForPreTraining", narrow, {"name": "value", "dense": True}, rules, ())


ARCHITECTURE = (
    *(_generator(narrow) for narrow in (True, False)),
    *(_discriminator(narrow) for narrow in (True, False)),
    *(_class("ElectraModel", narrow, "none", (), ()) for narrow in (True, False)),
)
