"""Granite 3's mixtures of experts (IBM 2024): Granite's multipliers, softmax over the chosen experts alone."""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import ATTENTION, rope
from components.interop.architectures._granite import EXPERTS, FIELDS, NODE
from components.interop.architectures._moe import EMBEDDED, FREE

ARCHITECTURE = Architecture(
    names=("GraniteMoeForCausalLM",),
    model_type="granitemoe",
    base={
        "model": {
            "name": "decoder",
            "position": {"name": "rope", "layout": "half"},
            "norm": "rms",
            "block": "pre_norm",
            "attention": "gqa",
            "residual": "scaled",
            "ffn": NODE,
        }
    },
    fields=(*FIELDS, rope(partial=False)),
    tensors=(*EMBEDDED, *ATTENTION, *EXPERTS),
    free=FREE,
    prefix="model.",
    copies={"lm_head.weight": "model.embed_tokens.weight"},
)
