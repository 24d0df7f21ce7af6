"""The row of vaultgemma.py."""

from __future__ import annotations

from parity import TOKENS, WIDE, Oracle

ORACLES = [
    Oracle(
        "VaultGemma",
        "VaultGemmaForCausalLM",
        (
            "VaultGemmaConfig",
            {
                **WIDE,
                **TOKENS,
                "sliding_window": 7,
                "query_pre_attn_scalar": 24,
                "attn_logit_softcapping": 2.0,
                "final_logit_softcapping": 3.0,
            },
        ),
        window=7,
        recipes=("known/vaultgemma_1b",),
    ),
]
