"""What DeepSeek-V3.2 and GLM-5 share: DeepSeek-V3 with an indexer that chooses the keys of its latent attention.

The indexer stays as it is unless ``model.attention.index_loss`` says otherwise: the classes do not train it. Latent vectors and the indexer's keys have
norms with an eps of their own, 1e-6. Checkpoints in 8 bits have to be converted first: their tensors of scales are refused.
"""

from __future__ import annotations

from collections.abc import Callable

from components.interop.architecture import SAME, Rule
from components.interop.architectures._common import TIED, rope, stack, unused
from components.interop.architectures._mla import LATENT, MLA_FREE, TENSORS, routed
from components.interop.architectures._moe import MOE, dense_by_type
from components.interop.fields import Constant, Field, Get, Same
from components.interop.layouts import Layout

SMALL = {"eps": 1e-6}
BASE = {
    "model": {
        "name": "decoder",
        "position": "rope",
        "norm": "rms",
        "block": "pre_norm",
        "attention": {
            "name": "dsa",
            "latent_norm": {"name": "rms", **SMALL},
            "index_norm": {"name": "layer", **SMALL},
            "index_loss": 0.0,
        },
        "ffn": {**MOE, "router": {"name": "sigmoid_top_k", "rate": 0.0}},
    }
}
FREE = MLA_FREE | {"num_nextn_predict_layers", "num_mtp_layers", "layer_types"}
INDEX = {"wq_b.weight": "q.weight", "wk.weight": "k.weight", **{f"k_norm.{p}": f"k_norm.{p}" for p in ("weight", "bias")}}


def fields(*, index_heads: int, groups: int, top_groups: int, q_rank: int, eps: float, **sizes: int) -> tuple[Field, ...]:
    """Fields with the class's own values where nothing is said; ``sizes``: of the parts of a head."""
    own = {"q_lora_rank": q_rank, "rms_norm_eps": eps, **sizes}
    latent = (Same(f.theirs, f.ours, own[f.theirs]) if isinstance(f, Same) and f.theirs in own else f for f in LATENT)
    return (
        *latent,
        *(f for f in routed(3) if "first_k_dense_replace" not in f.names),
        *(dense_by_type(3), rope(partial=False), TIED),
        Same("index_topk", "model.attention.top_k", 2048),
        Same("index_head_dim", "model.attention.index_head_dim", 128),
        Same("index_n_heads", "model.attention.index_n_heads", index_heads),
        Same("norm_topk_prob", "model.ffn.router.renormalise", True),
        Same("n_group", "model.ffn.router.n_groups", groups),
        Same("topk_group", "model.ffn.router.top_groups", top_groups),
        *(Constant("mlp_bias", False), unused("scoring_func", "sigmoid"), unused("topk_method", "noaux_tc")),
    )


def tensors(form: Layout | Callable[[Get], Layout] = SAME) -> tuple[Rule, ...]:
    """``form``: of the indexer's queries and keys, where theirs are rotated in another layout."""
    at = "model.layers.{i}.self_attn.indexer."
    return (
        *TENSORS,
        *(Rule(f"{at}{theirs}", stack(f"attention.indexer.{ours}"), form) for theirs, ours in INDEX.items()),
        Rule(f"{at}weights_proj.weight", stack("attention.indexer.weights.weight")),
        Rule("model.layers.{i}.mlp.gate.e_score_correction_bias", stack("ffn.router.correction")),
    )
