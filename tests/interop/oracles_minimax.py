"""The rows of minimax.py."""

from __future__ import annotations

from parity import GROUPED, TOKENS, WIDE, Oracle

EXPERTS = {"num_local_experts": 6, "num_experts_per_tok": 2}
FACTORS = {
    f"{branch}_{n}_factor": v for branch in ("full_attn", "linear_attn", "mlp") for n, v in (("alpha", 1.7), ("beta", 0.8))
}
LAYERS = ["linear_attention", "linear_attention", "full_attention"]

ORACLES = [
    Oracle(
        "MiniMax",
        "MiniMaxForCausalLM",
        ("MiniMaxConfig", {**WIDE, **TOKENS, **EXPERTS, **FACTORS, "layer_types": LAYERS}),
        recipes=("known/minimax_text_01",),
    ),
    Oracle(
        "MiniMax as its class is by default",
        "MiniMaxForCausalLM",
        ("MiniMaxConfig", {**GROUPED, **TOKENS, **EXPERTS, "tie_word_embeddings": True}),
    ),
]
