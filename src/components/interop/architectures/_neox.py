"""The fused projections that GPT-NeoX, BLOOM and Falcon share."""

from __future__ import annotations

from components.interop.architecture import Rule
from components.interop.architectures._common import stack
from components.interop.fields import Get
from components.interop.layouts import PerHead

EVERY = ["q", "k", "v", "out"]


def per_head(get: Get) -> PerHead:
    return PerHead(get("model.d_model") // get("model.attention.n_heads"))


def fused(name: str) -> Rule:
    """The projections of queries, keys and values, interleaved by head."""
    return Rule(f"{name}.{{p}}", tuple(stack(f"attention.{n}.{{p}}") for n in "qkv"), per_head)
