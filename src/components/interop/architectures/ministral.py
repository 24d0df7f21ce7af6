"""Ministral 8B (Mistral AI 2024): Mistral with windows on the layers that say so."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import HEAD_DIM, TIED, decoder_sizes, rope
from components.interop.architectures._llama import BASE, DROPOUT, FILES, SILU, TENSORS
from components.interop.architectures._windows import FULL, SLIDING, by_layer
from components.interop.fields import Same, Theirs


def _kinds(config: Theirs) -> list[str]:
    return [FULL if config.get("sliding_window", 4096) is None else SLIDING] * config["num_hidden_layers"]


ARCHITECTURE = Architecture(
    names=("MinistralForCausalLM",),
    model_type="ministral",
    base=BASE,
    fields=(
        *decoder_sizes(),
        *(HEAD_DIM, SILU, DROPOUT, TIED, rope(partial=False), by_layer(_kinds, 4096)),
        Same("num_key_value_heads", "model.attention.n_kv_heads", 8),
        Same("rms_norm_eps", "model.norm.eps", 1e-6),
    ),
    tensors=TENSORS,
    **FILES,
)
