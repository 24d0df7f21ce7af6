"""What GPT-2 and GPT-J share: the width of the FFN, and the names of the summary's fields."""

from __future__ import annotations

from components.interop.fields import Custom, Fields, Get, Options, Theirs

SUMMARY = ("type", "use_proj", "activation", "first_dropout", "proj_to_labels")  # of its class with two heads


def _read_inner(config: Theirs) -> Options:
    return {"model.ffn.d_ff": config.get("n_inner") or 4 * config["n_embd"]}


def _write_inner(get: Get) -> Fields:
    return {"n_inner": get("model.ffn.d_ff") or int(get("model.ffn.widen") * get("model.d_model"))}


INNER = Custom(("n_inner",), _read_inner, _write_inner)
