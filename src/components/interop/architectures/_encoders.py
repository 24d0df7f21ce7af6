"""What BERT and its descendants share: post-norm layers, names of tensors, fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.interop.architecture import Rule
from components.interop.architectures._common import stack, unused
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

EVERY = ["q", "k", "v", "out"]
BASE: dict[str, Any] = {
    "name": "encoder",
    "embedding": "token_types",
    "position": "learned",
    "norm": "layer",
    "block": "post_norm",
    "embedding_norm": "inherit",
    "final_norm": "none",
    "attention": {"name": "gqa", "bias": EVERY},
    "ffn": {"name": "mlp", "bias": True},
}
# tables of a width of their own, which ELECTRA and ALBERT project to the model's, and the head that is tied to them
NARROW: dict[str, Any] = {
    **BASE,
    "embedding": {"name": "projected", "inner": "token_types", "position": "learned", "norm": "layer"},
    "position": "none",
    "embedding_norm": "none",
}
NARROW_HEAD: dict[str, Any] = {
    "name": "tied_factorised",
    "down_bias": True,
    "activation": "gelu",
    "norm": "layer",
    "bias": True,
}
MASKED: dict[str, Any] = {"name": "mlm", "norm": "layer", "output": {"name": "tied", "bias": True}}


def spread(theirs: str, *ours: str, default: Any, table: Mapping[Any, Any] | None = None) -> Custom:
    """One field for several options of ours that must be equal. ``table``: {their value: ours}."""

    def read(config: Theirs) -> Options:
        value = value_of(config, theirs, default)
        if table is not None and value not in table:
            raise Unsupported(f"{theirs}={value!r}: there are {', '.join(map(repr, table))}")
        return dict.fromkeys(ours, value if table is None else table[value])

    def write(get: Get) -> Fields:
        value = get(ours[0])
        if table is None:
            return {theirs: value}
        if value not in table.values():
            raise Unsupported(f"{ours[0]}={value!r}: {theirs} knows {', '.join(map(repr, table.values()))}")
        return {theirs: next(t for t, o in table.items() if o == value)}

    return Custom((theirs,), read, write)


def sizes(vocab_size: int) -> tuple[Field, ...]:
    return (
        Same("vocab_size", "vocab_size", vocab_size),
        Same("hidden_size", "model.d_model", 768),
        Same("num_hidden_layers", "model.n_layers", 12),
        Same("num_attention_heads", "model.attention.n_heads", 12),
        Same("intermediate_size", "model.ffn.d_ff", 3072),
        *embedded("model.embedding"),
    )


def embedded(path: str, dropout: float = 0.1) -> tuple[Field, ...]:
    """What all have besides sizes. ``path``: of the embedding with token types. ``dropout``: the class's default."""
    return (
        Same("type_vocab_size", f"{path}.n_types", 2),
        Same("attention_probs_dropout_prob", "model.attention.dropout", dropout),
        spread("hidden_dropout_prob", "model.residual.dropout", f"{path}.dropout", default=dropout),
        Constant("is_decoder", False),
        Constant("add_cross_attention", False),
        unused("position_embedding_type", "absolute"),
    )


# sizes of a norm and activation, of the layers alone or of the head as well
HEADLESS = (
    Same("layer_norm_eps", "model.norm.eps", 1e-12),
    spread("hidden_act", "model.ffn.activation", default="gelu", table=ACTIVATIONS),
)


# theirs -> ours: tables at the model's width, and at a width of their own; the norm stands beside the positions
TABLES = {
    "word_embeddings": "embedding.table",
    "token_type_embeddings": "embedding.types",
    "position_embeddings": "stack.positions.0.table",
    "LayerNorm": "stack.embedding_norm",
}
NARROW_TABLES = {
    "word_embeddings": "embedding.inner.table",
    "token_type_embeddings": "embedding.inner.types",
    "position_embeddings": "embedding.position.table",
    "LayerNorm": "embedding.norm",
}


def tables(prefix: str, names: Mapping[str, str] = TABLES) -> tuple[Rule, ...]:
    """What comes before the layers. ``prefix``: ``bert.`` or similar; empty in a bare class."""
    return tuple(Rule(f"{prefix}embeddings.{a}.{{p}}", f"{b}.{{p}}") for a, b in names.items())


def tensors(prefix: str, names: Mapping[str, str] = TABLES) -> tuple[Rule, ...]:
    """All tensors except the head's. ``prefix``: ``bert.`` or similar; empty in a bare class."""
    layer = {
        **{f"attention.self.{a}": f"attention.{b}" for a, b in (("query", "q"), ("key", "k"), ("value", "v"))},
        "attention.output.dense": "attention.out",
        "attention.output.LayerNorm": "attention_norm",
        "intermediate.dense": "ffn.up",
        "output.dense": "ffn.out",
        "output.LayerNorm": "ffn_norm",
    }
    return (
        *tables(prefix, names),
        *(Rule(f"{prefix}encoder.layer.{{i}}.{a}.{{p}}", stack(f"{b}.{{p}}")) for a, b in layer.items()),
    )


RENAMED = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
POOLER = ("pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type")
FREE = frozenset(("classifier_dropout", "directionality", "output_past", *POOLER))
HEADLESS_FREE = FREE | {"tie_word_embeddings"}


def computed(prefix: str) -> tuple[str, ...]:
    """Numbers that are counted, not learned."""
    return (f"{prefix}embeddings.position_ids", f"{prefix}embeddings.token_type_ids")


def left(prefix: str) -> tuple[str, ...]:
    """The pooler: a dense layer over the first vector."""
    return (f"{prefix}pooler.dense.{{p}}",)
