"""HyperCLOVA X SEED Think (NAVER 2025): Granite's multipliers, of which that of the logits multiplies, and norms around every branch."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import HEAD_DIM, TIED, decoder_sizes, in_each, rope
from components.interop.architectures._llama import BASE, BIAS, DROPOUT, FILES, KV_HEADS, MLP_BIAS, SILU, TENSORS
from components.interop.fields import Mapped, Same

ARCHITECTURE = Architecture(
    names=("HyperCLOVAXForCausalLM",),
    model_type="hyperclovax",
    base={"model": {**BASE["model"], "residual": "scaled"}},
    fields=(
        *decoder_sizes(),
        *(KV_HEADS, HEAD_DIM, SILU, BIAS, MLP_BIAS, DROPOUT, TIED, rope(partial=False)),
        Mapped("use_post_norm", "model.block.name", {True: "sandwich", False: "pre_norm"}, True),
        Same("embedding_multiplier", "model.embedding.scale", 1.0),
        Same("attention_multiplier", "model.attention.scale", None),
        Same("residual_multiplier", "model.residual.scale", 1.0),
        Same("logits_scaling", "model.head.multiplier", 1.0),
        Same("rms_norm_eps", "model.norm.eps", 1e-6),
    ),
    tensors=(
        *TENSORS,
        *in_each("model.layers.{i}.", {"post_norm1": "attention_output_norm", "post_norm2": "ffn_output_norm"}),
    ),
    **FILES,
)
