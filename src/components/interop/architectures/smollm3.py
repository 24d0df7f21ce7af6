"""SmolLM3 (Hugging Face 2025): Llama without rotation in every fourth layer."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import PADDING, decoder_sizes, rope, tied
from components.interop.architectures._layers import unrotated
from components.interop.architectures._llama import BASE, BIAS, DROPOUT, FILES, KV_HEADS, MLP_BIAS, SILU, TENSORS
from components.interop.fields import Constant, Same, Theirs


def _still(config: Theirs) -> list[int]:
    """``no_rope_layers`` has 1 for a layer that turns, against its name."""
    every = config.get("no_rope_layer_interval", 4)
    turns = config.get("no_rope_layers") or [(i + 1) % every for i in range(config["num_hidden_layers"])]
    return [i for i, turn in enumerate(turns) if not turn]


ARCHITECTURE = Architecture(
    names=("SmolLM3ForCausalLM",),
    model_type="smollm3",
    base=BASE,
    fields=(
        *decoder_sizes(),
        *(KV_HEADS, SILU, BIAS, MLP_BIAS, DROPOUT, PADDING, tied(True), rope(2e6, partial=False)),
        Same("rms_norm_eps", "model.norm.eps", 1e-6),
        Constant("use_sliding_window", False),
        unrotated(
            ("no_rope_layers", "no_rope_layer_interval"), _still, lambda turns: {"no_rope_layers": [int(t) for t in turns]}
        ),
    ),
    tensors=TENSORS,
    free=frozenset(("sliding_window", "layer_types")),  # read where windows are used
    **FILES,
)
