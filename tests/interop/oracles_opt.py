"""The rows of opt.py."""

from __future__ import annotations

from parity import SMALL, TOKENS, Oracle

CONFIG = {
    **{n: v for n, v in SMALL.items() if n != "intermediate_size"},
    **TOKENS,
    **{"ffn_dim": 80, "max_position_embeddings": 64},
}
ORACLES = [
    Oracle("OPT", "OPTForCausalLM", ("OPTConfig", CONFIG), recipes=("known/opt_125m", "known/opt_6_7b")),
    Oracle(
        "OPT 350M",
        "OPTForCausalLM",
        ("OPTConfig", {**CONFIG, "word_embed_proj_dim": 20, "do_layer_norm_before": False}),
        recipes=("known/opt_350m",),
    ),
    Oracle(
        "OPT, narrow, without a last norm",
        "OPTForCausalLM",
        ("OPTConfig", {**CONFIG, "word_embed_proj_dim": 20, "_remove_final_layer_norm": True}),
    ),
]
