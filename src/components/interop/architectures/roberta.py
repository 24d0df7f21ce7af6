"""RoBERTa (Liu et al. 2019, arXiv:1907.11692), XLM-R, CamemBERT and data2vec: BERT whose positions count from the padding token's id on.

Its table has one row for each position and for every id up to the padding token's, so that padding has a row of its own.
"""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._encoders import (
    BASE,
    FREE,
    HEADLESS,
    HEADLESS_FREE,
    MASKED,
    computed,
    left,
    sizes,
    spread,
    tensors,
)
from components.interop.fields import ACTIVATIONS, Constant, Custom, Fields, Get, Options, Theirs, Unsupported, value_of


def _read(config: Theirs) -> Options:
    padding = value_of(config, "pad_token_id", 1)
    if not isinstance(padding, int):
        raise Unsupported(f"pad_token_id={padding!r}: positions are counted from it")
    offset = padding + 1
    rows = value_of(config, "max_position_embeddings", 512)
    return {"model.context_length": rows - offset, "model.position.offset": offset}


def _write(get: Get) -> Fields:
    offset = get("model.position.offset") or 0
    return {"max_position_embeddings": get("model.context_length") + offset, "pad_token_id": offset - 1}


POSITIONS = Custom(("max_position_embeddings", "pad_token_id"), _read, _write)


def _both(name: str, model_type: str, vocab_size: int, prefix: str = "roberta.") -> tuple[Architecture, ...]:
    """The class with a masked-LM head and the bare one. ``prefix``: of its tensors."""
    return (
        Architecture(
            names=(f"{name}ForMaskedLM",),
            model_type=model_type,
            base={"model": {**BASE, "head": {**MASKED, "activation": "gelu"}}, "loss": "masked_lm"},
            fields=(
                *sizes(vocab_size),
                POSITIONS,
                spread("layer_norm_eps", "model.norm.eps", "model.head.norm.eps", default=1e-12),
                spread("hidden_act", "model.ffn.activation", default="gelu", table=ACTIVATIONS),
                Constant("tie_word_embeddings", True),
            ),
            tensors=(
                *tensors(prefix),
                Rule("lm_head.dense.{p}", "head.dense.{p}"),
                Rule("lm_head.layer_norm.{p}", "head.norm.{p}"),
                Rule("lm_head.bias", "head.output.bias"),
            ),
            free=FREE,
            ignored=computed(prefix),
            left=left(prefix),
            copies={
                "lm_head.decoder.weight": f"{prefix}embeddings.word_embeddings.weight",
                "lm_head.decoder.bias": "lm_head.bias",
            },
        ),
        Architecture(
            names=(f"{name}Model",),
            model_type=model_type,
            base={"model": {**BASE, "head": "none"}, "loss": "masked_lm"},
            fields=(*sizes(vocab_size), POSITIONS, *HEADLESS),
            tensors=tensors(""),
            free=HEADLESS_FREE,
            ignored=computed(""),
            left=left(""),
        ),
    )


ARCHITECTURE = (
    *_both("Roberta", "roberta", 50265),
    *_both("XLMRoberta", "xlm-roberta", 30522),
    *_both("Camembert", "camembert", 30522),
    *_both("Data2VecText", "data2vec-text", 30522, "data2vec_text."),
)
