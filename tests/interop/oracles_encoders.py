"""BERT and its kin."""

from __future__ import annotations

from parity import Oracle

SMALL = {
    **{"vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4},
    **{"max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2},
}
ORACLES = [
    Oracle(
        "BERT",
        "BertForMaskedLM",
        ("BertConfig", SMALL),
        recipes=("known/bert_base", "known/bert_large"),
        generates=False,
    ),
    Oracle(
        "RoBERTa",
        "RobertaForMaskedLM",
        ("RobertaConfig", {**SMALL, "max_position_embeddings": 66}),
        recipes=("known/roberta_base",),
        generates=False,
        first_position=2,
    ),
    Oracle(
        "ModernBERT",
        "ModernBertForMaskedLM",
        (
            "ModernBertConfig",
            {
                **SMALL,
                **{"num_hidden_layers": 5, "local_attention": 8, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2},
            },
        ),
        recipes=("known/modernbert_base",),
        window=16,
        generates=False,
    ),
]
