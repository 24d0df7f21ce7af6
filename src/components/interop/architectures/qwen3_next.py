"""Qwen3-Next (Qwen 2025): Gated DeltaNet in three layers of four, gated attention in the fourth, a gated shared expert.

Queries and the gate of what was read stand head by head in one matrix; queries, keys, values and z of the DeltaNet group by
group of keys in another. The hub's tensors of the module that predicts more tokens (``mtp.``) are dropped, as by the class.
"""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._layers import option
from components.interop.architectures._llama import FILES
from components.interop.architectures._moe import DENSE_GLU, FREE, sparse_step
from components.interop.architectures._qwen3_next import EXPERTS, NET, SPARSE, TENSORS, expert_fields, fields, linear
from components.interop.fields import Get, Same
from components.interop.layouts import Chunks


def _groups(get: Get) -> Chunks:
    return Chunks(option(get, "attention", NET, "n_heads", 1))


ARCHITECTURE = Architecture(
    names=("Qwen3NextForCausalLM",),
    model_type="qwen3_next",
    base={"model": SPARSE},
    fields=(*fields(2), *expert_fields(10), Same("norm_topk_prob", "model.ffn.router.renormalise", True), sparse_step()),
    tensors=(
        linear("in_proj_qkvz.weight", "q.weight k.weight v.weight z.weight", _groups),
        linear("in_proj_ba.weight", "b.weight a.weight", _groups),
        *TENSORS,
        *EXPERTS,
        *DENSE_GLU,
    ),
    free=FREE,
    **{**FILES, "ignored": ("mtp.*",)},
)
