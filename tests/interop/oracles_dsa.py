"""The rows of deepseek_v32.py and glm_moe_dsa.py."""

from __future__ import annotations

from oracles_moe import LATENT, corrected
from parity import TOKENS, Oracle

INDEXED = {  # at 24 positions, a query reads 8 of up to 24 keys
    **{n: v for n, v in LATENT.items() if n != "rope_parameters"},
    **TOKENS,
    "index_topk": 8,
    "index_n_heads": 16,
    "index_head_dim": 12,
}

ORACLES = [
    Oracle(
        "DeepSeek-V3.2",
        "DeepseekV32ForCausalLM",
        ("DeepseekV32Config", {**INDEXED, "rope_parameters": LATENT["rope_parameters"], "n_group": 4, "topk_group": 2}),
        recipes=("known/deepseek_v3_2",),
        scaled=48,
        prepare=corrected,
    ),
    Oracle(
        "GLM-5",
        "GlmMoeDsaForCausalLM",
        ("GlmMoeDsaConfig", {**INDEXED, "num_hidden_layers": 4}),
        recipes=("known/glm_5",),
        prepare=corrected,
    ),
]
