"""What GPT-2, StarCoder and GPT-J share: sizes, the width of the FFN, and the names of the summary's fields."""

from __future__ import annotations

from components.interop.fields import Custom, Field, Fields, Get, Options, Same, Theirs

SUMMARY = ("type", "use_proj", "activation", "first_dropout", "proj_to_labels")  # of its class with two heads


def _read_inner(config: Theirs) -> Options:
    return {"model.ffn.d_ff": config.get("n_inner") or 4 * config["n_embd"]}


def _write_inner(get: Get) -> Fields:
    return {"n_inner": get("model.ffn.d_ff") or int(get("model.ffn.widen") * get("model.d_model"))}


INNER = Custom(("n_inner",), _read_inner, _write_inner)
SIZES: tuple[Field, ...] = (
    Same("vocab_size", "vocab_size", 50257),
    Same("n_embd", "model.d_model", 768),
    Same("n_layer", "model.n_layers", 12),
    Same("n_head", "model.attention.n_heads", 12),
    Same("n_positions", "model.context_length", 1024),
    INNER,
    Same("layer_norm_epsilon", "model.norm.eps", 1e-5),
    Same("attn_pdrop", "model.attention.dropout", 0.1),
    Same("resid_pdrop", "model.residual.dropout", 0.1),
    Same("embd_pdrop", "model.embedding.dropout", 0.1),
)
