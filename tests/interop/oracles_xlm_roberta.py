"""The row of xlm_roberta.py."""

from __future__ import annotations

from oracles_encoders import SMALL
from parity import Oracle

ORACLES = [
    *(
        Oracle(
            name,
            f"{cls}ForMaskedLM",
            (f"{cls}Config", {**SMALL, "max_position_embeddings": 66, "pad_token_id": 1}),
            recipes=recipes,
            generates=False,
            first_position=2,
        )
        for name, cls, recipes in (
            ("XLM-R", "XLMRoberta", ("known/xlm_roberta_base",)),
            ("CamemBERT", "Camembert", ("known/camembert_base",)),
            ("data2vec", "Data2VecText", ()),
        )
    ),
]
