"""T5, BART and the original Transformer."""

from __future__ import annotations

from parity import Oracle

T5 = {
    **{"vocab_size": 97, "d_model": 48, "d_kv": 16, "d_ff": 80, "num_layers": 3, "num_heads": 4, "decoder_start_token_id": 0},
    **{"relative_attention_num_buckets": 8, "relative_attention_max_distance": 16},
}
ORACLES = [
    Oracle(
        "T5 v1.0",
        "T5ForConditionalGeneration",
        ("T5Config", {**T5, "num_decoder_layers": 2}),
        recipes=("known/t5_small", "known/t5_base"),
        source=True,
    ),
    Oracle(
        "T5 v1.1 and Flan-T5",
        "T5ForConditionalGeneration",
        ("T5Config", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
        recipes=("known/t5_v1_1_base", "known/flan_t5_base"),
        source=True,
        untied=True,
    ),
]
