"""Arcee's AFM (Arcee AI 2025): Llama with squared ReLU and no gate."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import ATTENTION, HEAD_DIM, TIED, decoder_sizes, in_each, rope
from components.interop.architectures._llama import BASE, BIAS, DROPOUT, ENDS, FILES, KV_HEADS, MLP_BIAS, NORMS
from components.interop.fields import ACTIVATIONS, Mapped, Same

ARCHITECTURE = Architecture(
    names=("ArceeForCausalLM",),
    model_type="arcee",
    base={"model": {**BASE["model"], "ffn": "mlp"}},
    fields=(
        *decoder_sizes(),
        *(KV_HEADS, HEAD_DIM, BIAS, MLP_BIAS, DROPOUT, TIED, rope(partial=False)),
        Same("rms_norm_eps", "model.norm.eps", 1e-5),
        Mapped("hidden_act", "model.ffn.activation", ACTIVATIONS, "relu2"),
    ),
    tensors=(*ENDS, *ATTENTION, *NORMS, *in_each("model.layers.{i}.mlp.", {"up_proj": "ffn.up", "down_proj": "ffn.out"})),
    **FILES,
)
