"""T5, BART and the original Transformer."""

from __future__ import annotations

import torch
from parity import Oracle
from torch import nn

T5 = {
    **{"vocab_size": 97, "d_model": 48, "d_kv": 16, "d_ff": 80, "num_layers": 3, "num_heads": 4, "decoder_start_token_id": 0},
    **{"relative_attention_num_buckets": 8, "relative_attention_max_distance": 16},
}
BART = {
    **{"vocab_size": 97, "d_model": 48, "encoder_layers": 2, "decoder_layers": 3, "max_position_embeddings": 64},
    **{f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (("attention_heads", 4), ("ffn_dim", 80))},
    **{"pad_token_id": 0, "eos_token_id": 2, "forced_eos_token_id": None, "decoder_start_token_id": 3},
}


def biased(model: nn.Module) -> None:
    """A bias on logits as training elsewhere may have left it; the class makes zeros."""
    bias = model.final_logits_bias
    bias.copy_(torch.empty(bias.shape).normal_(generator=torch.Generator().manual_seed(5)))


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
    Oracle(
        "BART",
        "BartForConditionalGeneration",
        ("BartConfig", BART),
        recipes=("known/bart_base",),
        source=True,
        prepare=biased,
    ),
    Oracle(
        "Transformer",
        "MarianMTModel",
        ("MarianConfig", {**BART, "activation_function": "relu", "scale_embedding": True}),
        recipes=("known/transformer_base",),
        source=True,
        prepare=biased,
    ),
]
