"""BERT (Devlin et al. 2018, arXiv:1810.04805), with its masked-LM head or bare, as sentence encoders are.

The pooler and the next-sentence classifier, on which no logit and no hidden vector depends, are left behind.
"""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._encoders import (
    BASE,
    FREE,
    HEADLESS,
    HEADLESS_FREE,
    MASKED,
    RENAMED,
    computed,
    left,
    sizes,
    spread,
    tensors,
)
from components.interop.fields import ACTIVATIONS, Constant, Same

POSITIONS = Same("max_position_embeddings", "model.context_length", 512)
BARE = Architecture(
    names=("BertModel",),
    model_type="bert",
    base={"model": {**BASE, "head": "none"}, "loss": "masked_lm"},
    fields=(*sizes(30522), POSITIONS, *HEADLESS),
    tensors=tensors(""),
    free=HEADLESS_FREE,
    ignored=computed(""),
    left=left(""),
    renamed=RENAMED,
)
ARCHITECTURE = (
    Architecture(
        names=("BertForMaskedLM",),
        model_type="bert",
        base={"model": {**BASE, "head": MASKED}, "loss": "masked_lm"},
        fields=(
            *sizes(30522),
            POSITIONS,
            spread("layer_norm_eps", "model.norm.eps", "model.head.norm.eps", default=1e-12),
            spread("hidden_act", "model.ffn.activation", "model.head.activation", default="gelu", table=ACTIVATIONS),
            Constant("tie_word_embeddings", True),
        ),
        tensors=(
            *tensors("bert."),
            Rule("cls.predictions.transform.dense.{p}", "head.dense.{p}"),
            Rule("cls.predictions.transform.LayerNorm.{p}", "head.norm.{p}"),
            Rule("cls.predictions.bias", "head.output.bias"),
        ),
        free=FREE,
        ignored=computed("bert."),
        left=(*left("bert."), "cls.seq_relationship.{p}"),
        copies={
            "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
        renamed=RENAMED,
    ),
    BARE,
)
