"""DeepSeek-V3.2 (DeepSeek-AI 2025, arXiv:2512.02556): DeepSeek-V3 whose queries read the 2048 keys that an indexer puts first.

The rotated channels of the indexer are pairs of halves, those of the attention neighbours; ours are neighbours in both, so the indexer's rows are reordered.
The class drops the weights of the module that predicts a second token (layer 61 of the published model), and so do we.
"""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._dsa import BASE, FREE, fields, tensors
from components.interop.fields import Get
from components.interop.layouts import Paired


def _paired(get: Get) -> Paired:
    return Paired(get("model.attention.index_head_dim"), get("model.attention.rope_dim"))


ARCHITECTURE = Architecture(
    names=("DeepseekV32ForCausalLM",),
    model_type="deepseek_v32",
    base=BASE,
    fields=fields(index_heads=64, groups=8, top_groups=4, q_rank=1536, eps=1e-6),
    tensors=tensors(_paired),
    free=FREE,
    prefix="model.",
    ignored=("model.layers.61.*",),
)
