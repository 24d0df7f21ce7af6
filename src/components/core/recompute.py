"""Which results of a layer are kept for the backward pass where the rest is computed once more: products of matrices, and attention.

They take most of the time and, beside what stands between them, little of the memory. Korthikanti et al. 2022, arXiv:2205.05198, selects otherwise
(attention alone is recomputed); keeping products is what torch's selective checkpointing is most used for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, ParamSpec, TypeAlias, TypeVar

import torch
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

P = ParamSpec("P")
R = TypeVar("R")

Checkpointing: TypeAlias = bool | Literal["selective"]  # what a layer computes once more: nothing, everything, all but products

# looked up by name: which of the kernels there are depends on how torch was built
NAMES = (
    *("mm", "addmm", "bmm", "baddbmm", "_grouped_mm", "_scaled_mm"),
    *(f"_scaled_dot_product_{kernel}" for kernel in ("flash_attention", "efficient_attention", "cudnn_attention")),
    *("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_fused_attention_overrideable"),
)
PRODUCTS = [getattr(torch.ops.aten, name).default for name in NAMES if hasattr(torch.ops.aten, name)]

keep_products = partial(create_selective_checkpoint_contexts, PRODUCTS)


def recomputed(how: Checkpointing, run: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """``run(*args)``, computed once more in the backward pass; ``how`` says whether all of it.

    The determinism check stays on: a part that draws differently the second time is a fault.
    """
    if how == "selective":
        return checkpoint(run, *args, use_reentrant=False, context_fn=keep_products, **kwargs)  # type: ignore[return-value]  # what run does
    return checkpoint(run, *args, use_reentrant=False, **kwargs)  # type: ignore[return-value]  # likewise


def checkpointing_of(asked: bool | int | Literal["selective"], index: int) -> Checkpointing:
    """What layer ``index`` computes once more: with a number ``n``, everything in each n-th layer, the first of them the n-th."""
    if isinstance(asked, (bool, str)):
        return asked
    return index % asked == asked - 1
