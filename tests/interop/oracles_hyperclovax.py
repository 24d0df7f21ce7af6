"""The row of hyperclovax.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, Oracle

ORACLES = [
    Oracle(
        "HyperCLOVA X",
        "HyperCLOVAXForCausalLM",
        (
            "HyperCLOVAXConfig",
            {
                **GROUPED,
                **TOKENS,
                "embedding_multiplier": 12.0,
                "attention_multiplier": 0.2,
                "residual_multiplier": 0.22,
                "logits_scaling": 0.125,
            },
        ),
        recipes=("known/hyperclovax",),
    ),
    Oracle(
        "HyperCLOVA X without norms after branches",
        "HyperCLOVAXForCausalLM",
        ("HyperCLOVAXConfig", {**GROUPED, **TOKENS, "use_post_norm": False}),
    ),
]
