"""DeBERTa-v2 and v3 (He et al. 2021, arXiv:2006.03654 and arXiv:2111.09543), also mDeBERTa: disentangled attention, with the masked-LM head or bare.

The convolution beside the first layer of DeBERTa-v2 xlarge and xxlarge is refused by name, and so are absolute positions in the input. The head of
``legacy=false`` is the same under other names, which files of v3 have whatever their config says: both are read, and the older
ones written. The vectors of distances are not dropped in training.
"""

from __future__ import annotations

from typing import Any

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import in_each
from components.interop.architectures._encoders import BASE, EVERY, MASKED, spread
from components.interop.fields import ACTIVATIONS, Constant, Custom, Fields, Get, Options, Same, Theirs, Unsupported, value_of

LAYER = {
    **{f"attention.self.{a}_proj": f"attention.{b}" for a, b in (("query", "q"), ("key", "k"), ("value", "v"))},
    **{f"attention.self.pos_{a}_proj": f"attention.position_{b}" for a, b in (("query", "q"), ("key", "k"))},
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "ffn.up",
    "output.dense": "ffn.out",
    "output.LayerNorm": "ffn_norm",
}
NEW_HEAD = {  # as it is called -> as it is called here
    "lm_predictions.lm_head.dense": "cls.predictions.transform.dense",
    "lm_predictions.lm_head.LayerNorm": "cls.predictions.transform.LayerNorm",
    "lm_predictions.lm_head.bias": "cls.predictions.bias",
}
HEAD = (
    Rule("cls.predictions.transform.dense.{p}", "head.dense.{p}"),
    Rule("cls.predictions.transform.LayerNorm.{p}", "head.norm.{p}"),
    Rule("cls.predictions.bias", "head.output.bias"),
)
LEGACY = Custom(("legacy",), lambda _: {}, lambda _: {"legacy": True})
NAMES = ("position_buckets", "max_relative_positions", "norm_rel_ebd", "pos_att_type", "type_vocab_size", "attention_head_size")


def _read(config: Theirs) -> Options:
    said = config.get("pos_att_type") or ()
    terms = [t.strip() for t in said.lower().split("|")] if isinstance(said, str) else list(said)
    buckets, far = value_of(config, "position_buckets", -1), value_of(config, "max_relative_positions", -1)
    far = far if far > 0 else value_of(config, "max_position_embeddings", 512)
    norm, types = value_of(config, "norm_rel_ebd", "none"), value_of(config, "type_vocab_size", 0)
    width = value_of(config, "hidden_size", 1536) // value_of(config, "num_attention_heads", 24)
    if value_of(config, "attention_head_size", width) != width:
        raise Unsupported(
            f"attention_head_size={config['attention_head_size']}: its class takes hidden_size / num_attention_heads"
        )
    if norm not in ("none", "layer_norm"):
        raise Unsupported(f"norm_rel_ebd={norm!r}: there are 'none' and 'layer_norm'")
    if not terms or set(terms) - {"c2p", "p2c"}:
        raise Unsupported(f"pos_att_type={said!r}: there are 'c2p' and 'p2c', of which it has one")
    return {
        "model.attention.terms": [t for t in ("c2p", "p2c") if t in terms],
        "model.position.span": buckets if buckets > 0 else far,
        "model.position.max_distance": far if buckets > 0 else None,
        "model.position.norm": {"name": "layer", "eps": value_of(config, "layer_norm_eps", 1e-7)} if norm != "none" else "none",
        "model.embedding.name": "token_types" if types else "token",
        **({"model.embedding.n_types": types} if types else {}),
    }


def _write(get: Get) -> Fields:
    far, span = get("model.position.max_distance"), get("model.position.span")
    return {
        "pos_att_type": list(get("model.attention.terms")),
        "position_buckets": -1 if far is None else span,
        "max_relative_positions": span if far is None else far,
        "norm_rel_ebd": "none" if get("model.position.norm.name") == "none" else "layer_norm",
        "type_vocab_size": get("model.embedding.n_types") if get("model.embedding.name") == "token_types" else 0,
    }


def _class(name: str) -> Architecture:
    masked = name == "DebertaV2ForMaskedLM"
    prefix, end = ("deberta.", "model.head.") if masked else ("", None)
    base: dict[str, Any] = {
        **{n: v for n, v in BASE.items() if n != "embedding"},
        "position": "disentangled",
        "attention": {"name": "disentangled", "bias": EVERY},
        "head": MASKED if masked else "none",
    }
    return Architecture(
        names=(name,),
        model_type="deberta-v2",
        base={"model": base, "loss": "masked_lm"},
        fields=(
            Same("vocab_size", "vocab_size", 128100),
            Same("hidden_size", "model.d_model", 1536),
            Same("num_hidden_layers", "model.n_layers", 24),
            Same("num_attention_heads", "model.attention.n_heads", 24),
            Same("intermediate_size", "model.ffn.d_ff", 6144),
            Same("max_position_embeddings", "model.context_length", 512),
            Same("share_att_key", "model.attention.share_key", False),
            Same("attention_probs_dropout_prob", "model.attention.dropout", 0.1),
            Custom(NAMES, _read, _write),
            Constant("relative_attention", True, absent=False),
            Constant("position_biased_input", False, absent=False),
            Constant("conv_kernel_size", 0),
            spread("hidden_dropout_prob", "model.residual.dropout", "model.embedding.dropout", default=0.1),
            spread("layer_norm_eps", "model.norm.eps", *((f"{end}norm.eps",) if end else ()), default=1e-7),
            spread(
                "hidden_act", "model.ffn.activation", *((f"{end}activation",) if end else ()), default="gelu", table=ACTIVATIONS
            ),
            *((LEGACY, Constant("tie_word_embeddings", True)) if masked else ()),
        ),
        tensors=(
            Rule(f"{prefix}embeddings.word_embeddings.weight", "embedding.table.weight"),
            Rule(f"{prefix}embeddings.token_type_embeddings.weight", "embedding.types.weight"),
            Rule(f"{prefix}embeddings.LayerNorm.{{p}}", "stack.embedding_norm.{p}"),
            Rule(f"{prefix}encoder.rel_embeddings.weight", "stack.positions.0.table.weight"),
            Rule(f"{prefix}encoder.LayerNorm.{{p}}", "stack.positions.0.norm.{p}"),
            *in_each(f"{prefix}encoder.layer.{{i}}.", LAYER),
            *(HEAD if masked else ()),
        ),
        free=frozenset(
            (
                "pooler_dropout",
                "pooler_hidden_act",
                "pooler_hidden_size",
                "conv_act",
                *(() if masked else ("legacy", "tie_word_embeddings")),
            )
        ),
        ignored=(f"{prefix}embeddings.position_ids",),
        left=(f"{prefix}embeddings.position_embeddings.weight", "mask_predictions.*"),
        copies={
            "cls.predictions.decoder.weight": "deberta.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        }
        if masked
        else {},
        renamed=NEW_HEAD if masked else {},
    )


ARCHITECTURE = (_class("DebertaV2ForMaskedLM"), _class("DebertaV2Model"))
