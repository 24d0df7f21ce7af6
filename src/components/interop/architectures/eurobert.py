"""EuroBERT (Boizard et al. 2025, arXiv:2503.05500): Llama's layers that see both sides, with a plain head."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import HEAD_DIM, PADDING, TIED, decoder_sizes, rope
from components.interop.architectures._llama import BASE, BIAS, DROPOUT, FILES, KV_HEADS, SILU, TENSORS
from components.interop.fields import Constant, Same

ARCHITECTURE = Architecture(
    names=("EuroBertForMaskedLM",),
    model_type="eurobert",
    base={"model": {**BASE["model"], "name": "encoder"}, "loss": "masked_lm"},
    fields=(
        *decoder_sizes(),
        *(KV_HEADS, HEAD_DIM, SILU, BIAS, DROPOUT, PADDING, TIED, rope(partial=False)),
        Constant("mlp_bias", False),  # it gives the head one too
        Same("rms_norm_eps", "model.norm.eps", 1e-5),
    ),
    tensors=TENSORS,
    free=frozenset(("mask_token_id", "classifier_pooling")),
    **FILES,
)
