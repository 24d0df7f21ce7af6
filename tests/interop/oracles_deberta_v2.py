"""The rows of deberta_v2.py."""

from __future__ import annotations

from oracles_encoders import SMALL
from parity import Oracle

CONFIG = {
    **{
        **SMALL,
        "relative_attention": True,
        "position_biased_input": False,
        "position_buckets": 8,
        "max_relative_positions": -1,
    },
    **{"pos_att_type": ["p2c", "c2p"], "share_att_key": True, "norm_rel_ebd": "layer_norm", "type_vocab_size": 0},
}
OWN = {"share_att_key": False, "type_vocab_size": 3}
ORACLES = [
    Oracle(
        "DeBERTa-v3",
        "DebertaV2ForMaskedLM",
        ("DebertaV2Config", CONFIG),
        recipes=("known/deberta_v3_small", "known/deberta_v3_base", "known/deberta_v3_large"),
        generates=False,
    ),
    Oracle(
        "DeBERTa-v2, clipped distances, matrices of their own",
        "DebertaV2ForMaskedLM",
        ("DebertaV2Config", {**CONFIG, **OWN, "position_buckets": -1, "max_relative_positions": 10, "norm_rel_ebd": "none"}),
        generates=False,
    ),
]
