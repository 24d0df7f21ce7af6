"""Which kernel softmax attention takes, by device, dtype, length and mask, and where its weights are computed in pieces: with what was measured.

Dao et al. 2022, arXiv:2205.14135 (what a kernel need not keep); Dong et al. 2024, arXiv:2412.05496 (flex)
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.core.draws import DRAWS
from components.functional.attention_mask import MaskSpec
from components.functional.banded import block_of
from components.functional.pieces import causal_block, triangle
from components.functional.products import beats_fused

# Keys up to which batched products beat the fused CPU kernel, forward and backward together, measured on two AVX-512 cores: in bf16 at 512 20 ms against 55.
# In fp32 the fused kernel is as fast or faster at every length.
# In bf16 the products round scores to bf16 before the softmax, where the fused kernel keeps fp32: the relative error of the output is about
# 0.003 where scores have a standard deviation of 1 and 0.011 where they have 3; fused 0.002.
CPU_PRODUCTS_UP_TO = {torch.bfloat16: 512, torch.float16: 512}
# The same where the CPU has instructions for bf16, if nothing but later keys is hidden (at 1,024 34 ms against 68, at 8,192 264 against 471; beyond it was not
# measured), and if a mask or a bias of all pairs has to be made anyway (at 2,048 70 against 185).
LEAN_PRODUCTS_UP_TO, LEAN_MASKS_UP_TO = 8192, 2048
# Keys up to which all weights are kept, three times, if some are dropped; for more they are drawn again, a few heads and queries at a time. Forward and backward on
# one core, ms in bf16 / fp32, causal: at 128 keys all at once 5.1 / 13.1, in pieces 7.2 / 15.7; at 256 33 / 76 and 31 / 70; at 1,024 130 / 295 and 101 / 213.
# Where a query may see what comes later pieces skip nothing, and take a fifth longer at each length: there it is memory that decides.
DROPPED_AT_ONCE_UP_TO, DROPPED_ALL_SEEN_UP_TO = 128, 512
DROPS_AT_ONCE = "the fused CPU kernel is 5 times slower with dropout"
DROPS_IN_PIECES = "what is dropped is drawn again in the backward pass, a few heads and queries at a time"
LEAST_ROWS = 128  # fewer queries are those of decoding, for which keys would be copied
FLEX_WIDTH = 16  # channels of a head: compiled, flex multiplies no fewer
PIECE = 1 << 17  # scores that have a mask in common, from which they are worth a call of their own


def choose(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    spec: MaskSpec,
    soft_cap: float | None,
    sinks: Tensor | None,
    bias: Tensor | None,
    dropout: float,
) -> tuple[str, str]:
    """The name of the kernel, and why: ``fused`` (torch's scaled_dot_product_attention), ``banded`` (on CPUs, block by block), ``flex``
    (accelerators, structured masks) or ``products``."""
    tq, tk = q.shape[2], k.shape[2]
    if dropout > 0.0 and DRAWS.keys is not None and q.device.type != "cpu":
        return "products", "dropout is drawn by samples, of which fused kernels know nothing"
    if sinks is not None:
        return "products", "no fused kernel takes sinks"
    if soft_cap is not None and q.device.type != "cuda":
        return "products", "no fused kernel of this device caps scores"
    if q.device.type == "cpu":
        if dropout > 0.0:
            few = tk <= _dropped_at_once(spec, tq, tk) or dropout >= 1.0
            if not few and bias is None and block_of(q, k, spec):
                return "banded", "skips the keys that lie beyond the mask's reach, and draws for each block again"
            return "products", DROPS_AT_ONCE if few or torch.compiler.is_compiling() else DROPS_IN_PIECES
        wide, few = beats_fused(q), tq > 1 and tk <= CPU_PRODUCTS_UP_TO.get(q.dtype, 0)
        if bias is None and (wide or not few) and block_of(q, k, spec):
            return "banded", "skips the keys that lie beyond the mask's reach"
        if few:
            return "products", "faster on a CPU in half precision for so few keys"
        if (
            wide
            and tq >= LEAST_ROWS
            and tk <= (LEAN_PRODUCTS_UP_TO if bias is None and simple(spec, tq, tk) else LEAN_MASKS_UP_TO)
        ):
            return "products", "faster on a CPU in bf16, a few heads and queries at a time"
        return "fused", "one query at a time" if tq == 1 else "fastest on a CPU in this precision and length"
    wide_enough = min(q.shape[-1], v.shape[-1]) >= FLEX_WIDTH
    in_blocks = q.device.type == "cuda" and dropout == 0.0 and wide_enough and tq > 1 and tq % 128 == 0 and tk % 128 == 0
    if in_blocks and (soft_cap is not None or (bias is None and not simple(spec, tq, tk))):
        return "flex", "capped scores" if soft_cap is not None else "skips the blocks that its mask hides"
    if soft_cap is not None:
        return "products", f"capped scores, and flex wants blocks of 128 positions, {FLEX_WIDTH} channels and no dropout"
    return "fused", "the device's own kernel"


def simple(spec: MaskSpec, tq: int, tk: int) -> bool:
    """Whether no mask of all pairs is needed."""
    return spec.only_causal(tq, tk) or spec.sees_all(tq, tk)


def in_pieces(
    q: Tensor, tk: int, spec: MaskSpec, *, biased: bool, other: bool, dropout: float
) -> tuple[Tensor | None, int] | None:
    """The mask, and how many queries at once, where nothing of Tq x Tk is to be kept; None where all at once is faster, and little. q (B, H, Tq, K).

    biased: whether scores have a bias. other: whether they are capped or have sinks, whose passes over all scores would be kept one by one.
    """
    heads, tq = q.shape[1], q.shape[2]
    few = CPU_PRODUCTS_UP_TO[torch.bfloat16] if dropout == 0.0 else _dropped_at_once(spec, tq, tk)
    recorded, many = torch.is_grad_enabled(), tk > few
    if q.device.type != "cpu" or torch.compiler.is_compiling() or tq == 1 or (not many and (biased or dropout > 0.0)):
        return None
    if dropout >= 1.0:  # nothing is left to draw
        return None
    if spec.only_causal(tq, tk):
        size = causal_block(tq)
        return spec.q.once(("triangle", size, q.dtype), lambda: triangle(size, q.dtype, q.device)), size
    if spec.sees_all(tq, tk):
        return (None, tq) if many or (recorded and other) else None
    mask = spec.additive(q.dtype, q.device)[:, 0]
    earlier = none_later(spec, tq, tk)
    if many or ((mask.shape[0] == 1 or heads * tq * tk >= PIECE) and (recorded or earlier)):
        return mask, causal_block(tq) if earlier else tq
    return None


def _dropped_at_once(spec: MaskSpec, tq: int, tk: int) -> int:
    """Keys up to which weights of which some are dropped are kept."""
    return DROPPED_AT_ONCE_UP_TO if none_later(spec, tq, tk) else DROPPED_ALL_SEEN_UP_TO


def none_later(spec: MaskSpec, tq: int, tk: int) -> bool:
    """Whether no query that sees anything sees what comes after it."""
    return spec.causal and spec.is_self_attention and tq == tk and spec.q.prefix is None
