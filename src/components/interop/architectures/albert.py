"""ALBERT (Lan et al. 2019, arXiv:1909.11942): a narrow embedding, projected to the model, and one layer that is passed again and again.

The pooler and the classifier of sentence order, on which no logit and no hidden vector depends, are left behind.
"""

from __future__ import annotations

from typing import Any

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import in_each
from components.interop.architectures._encoders import NARROW, NARROW_HEAD, NARROW_TABLES, computed, embedded, spread, tables
from components.interop.fields import ACTIVATIONS, Constant, Custom, Same

LAYER = {
    **{f"attention.{a}": f"attention.{b}" for a, b in (("query", "q"), ("key", "k"), ("value", "v"), ("dense", "out"))},
    "attention.LayerNorm": "attention_norm",
    "ffn": "ffn.up",
    "ffn_output": "ffn.out",
    "full_layer_layer_norm": "ffn_norm",
}
FREE = frozenset(("classifier_dropout_prob", "net_structure_type", "num_memory_blocks", "gap_size", "down_scale_factor"))
WIDTH = Custom(
    ("embedding_size",),
    lambda config: {"model.embedding.width": config.get("embedding_size", 128)},
    lambda get: {"embedding_size": get("model.embedding.width") or get("model.d_model") // 4},
)


def _class(name: str, prefix: str, head: dict[str, Any] | str, rules: tuple[Rule, ...]) -> Architecture:
    """``prefix``: of its tensors; ``rules``: of its head's."""
    masked = name == "AlbertForMaskedLM"
    ends = ("model.head.norm.eps",) if masked else ()
    acts = ("model.head.activation",) if masked else ()
    return Architecture(
        names=(name,),
        model_type="albert",
        base={"model": {**NARROW, "stack": {"name": "looped"}, "head": head}, "loss": "masked_lm"},
        fields=(
            Same("vocab_size", "vocab_size", 30000),
            Same("hidden_size", "model.d_model", 4096),
            Same("num_hidden_layers", "model.stack.loops", 12),
            Same("inner_group_num", "model.n_layers", 1),
            Constant("num_hidden_groups", 1),
            Same("num_attention_heads", "model.attention.n_heads", 64),
            Same("intermediate_size", "model.ffn.d_ff", 16384),
            Same("max_position_embeddings", "model.context_length", 512),
            WIDTH,
            *embedded("model.embedding.inner", dropout=0.0),
            spread("layer_norm_eps", "model.norm.eps", "model.embedding.norm.eps", *ends, default=1e-12),
            spread("hidden_act", "model.ffn.activation", *acts, default="gelu_new", table=ACTIVATIONS),
            *((Constant("tie_word_embeddings", True),) if masked else ()),
        ),
        tensors=(
            *tables(prefix, NARROW_TABLES),
            Rule(f"{prefix}encoder.embedding_hidden_mapping_in.{{p}}", "embedding.up.{p}"),
            *in_each(f"{prefix}encoder.albert_layer_groups.0.albert_layers.{{i}}.", LAYER),
            *rules,
        ),
        free=FREE if masked else FREE | {"tie_word_embeddings"},
        ignored=computed(prefix),
        left=(f"{prefix}pooler.{{p}}", *(("sop_classifier.classifier.{p}",) if masked else ())),
        copies={
            "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
            "predictions.decoder.bias": "predictions.bias",
        }
        if masked
        else {},
    )


ARCHITECTURE = (
    _class(
        "AlbertForMaskedLM",
        "albert.",
        NARROW_HEAD,
        (
            Rule("predictions.dense.{p}", "head.down.{p}"),
            Rule("predictions.LayerNorm.{p}", "head.norm.{p}"),
            Rule("predictions.bias", "head.bias"),
        ),
    ),
    _class("AlbertModel", "", "none", ()),
)
