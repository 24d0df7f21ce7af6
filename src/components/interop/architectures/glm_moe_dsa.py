"""GLM-5 (Zhipu AI 2026, arXiv:2602.15763): DeepSeek-V3.2's sparse attention, with neighbours rotated in the indexer too.

Layers that take over the choice of an earlier one (``shared`` in ``indexer_types``) are refused: each chooses for itself here. The class drops the weights
of the module that predicts a second token (layer 78 of the published model), and so do we.
"""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._common import unused
from components.interop.architectures._dsa import BASE, FREE, fields, tensors
from components.interop.fields import Custom, Fields, Get, Options, Theirs, Unsupported


def _read_indexers(config: Theirs) -> Options:
    types, pattern = config.get("indexer_types"), config.get("index_topk_pattern")
    every = types or ["full" if c in ("F", "full") else "shared" for c in pattern or ()]
    if set(every) - {"full"} or (not every and (config.get("index_topk_freq") or 1) > 1):
        raise Unsupported(
            "indexer_types: some layers share the choice of an earlier one, and here each has an indexer of its own"
        )
    return {}


def _write_indexers(get: Get) -> Fields:
    return {"indexer_types": ["full"] * get("model.n_layers")}


ARCHITECTURE = Architecture(
    names=("GlmMoeDsaForCausalLM",),
    model_type="glm_moe_dsa",
    base=BASE,
    fields=(
        *fields(index_heads=32, groups=1, top_groups=1, q_rank=2048, eps=1e-5, qk_nope_head_dim=192, v_head_dim=256),
        Custom(
            ("indexer_types", "index_topk_pattern", "index_topk_freq", "index_skip_topk_offset"),
            _read_indexers,
            _write_indexers,
        ),
        unused("rope_interleave", True),
        unused("indexer_rope_interleave", True),
    ),
    tensors=tensors(),
    free=FREE,
    prefix="model.",
    ignored=("model.layers.78.*",),
)
