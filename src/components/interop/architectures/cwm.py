"""Code World Model (Meta FAIR 2025, arXiv:2510.02387): Llama with windows on three of four layers, the first of which sees everything."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import TIED, decoder_sizes, head_dim, rope
from components.interop.architectures._llama import BASE, DROPOUT, FILES, MLP_BIAS, SILU, TENSORS
from components.interop.architectures._windows import FULL, SLIDING, by_layer
from components.interop.fields import Same, Theirs


def _kinds(config: Theirs) -> list[str]:
    return [SLIDING if i % 4 else FULL for i in range(config["num_hidden_layers"])]


ARCHITECTURE = Architecture(
    names=("CwmForCausalLM",),
    model_type="cwm",
    base=BASE,
    fields=(
        *decoder_sizes(),
        *(head_dim(128), SILU, MLP_BIAS, DROPOUT, TIED, rope(1e6, partial=False), by_layer(_kinds, 8192)),
        Same("num_key_value_heads", "model.attention.n_kv_heads", 8),
        Same("rms_norm_eps", "model.norm.eps", 1e-5),
    ),
    tensors=TENSORS,
    **FILES,
)
