"""Softmax attention. One place picks the kernel by device, dtype, length and mask; the naive reference stands beside it.

Parts declare what may be seen (``MaskSpec``) and a bias; they never call a kernel. Vaswani et al. 2017, arXiv:1706.03762, eq. 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.draws import DRAWS
from components.core.sockets import SequenceInfo
from components.functional import chosen, watch
from components.functional.attention_mask import MaskRule, MaskSpec
from components.functional.banded import banded_attend, block_of
from components.functional.dropout import dropout_of
from components.functional.dropped_weights import dropped_of
from components.functional.pieces import Way, causal_block, triangle
from components.functional.products import LeanProducts, beats_fused

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


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    spec: MaskSpec,
    *,
    bias: Tensor | None = None,
    scale: float | None = None,
    soft_cap: float | None = None,
    sinks: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """softmax(cap(q k^T * scale) + bias over what is seen) v.

    Args:
        q: (B, H, Tq, K).
        k: (B, G, Tk, K), H a multiple of G: heads share keys in groups.
        v: (B, G, Tk, Kv).
        spec: what may be seen.
        bias: (B or 1, H, Tq, Tk), added to the scaled scores.
        scale: 1/sqrt(K) if None.
        soft_cap: c in c * tanh(score / c), before bias and mask (Gemma 2).
        sinks: (H,) a logit per head that takes weight and gives nothing (gpt-oss).
        dropout: probability with which a weight is dropped; give 0 outside training.

    Returns: (B, H, Tq, Kv) in v's dtype, which is also used for the computation.
    """
    q, k = q.to(v.dtype), k.to(v.dtype)  # a norm or a rotation may have given fp32 where autocast projected to bf16
    if watch.sink is not None:
        watch.sink("softmax", q=q, k=k, v=v, spec=spec, bias=bias, scale=scale, soft_cap=soft_cap, sinks=sinks)
    kernel, why = choose(q, k, v, soft_cap=soft_cap, sinks=sinks, bias=bias, dropout=dropout, spec=spec)
    if chosen.heard is not None:
        chosen.tell("attention", kernel, why)
    if kernel == "flex":
        from components.functional.flex import flex_attend

        return flex_attend(q, k, v, spec, bias=bias, scale=scale, soft_cap=soft_cap)
    if kernel == "banded":
        return banded_attend(q, k, v, spec, block_of(q, k, spec), scale, dropout)
    if kernel == "fused":
        return _fused(q, k, v, spec, bias, scale, dropout)
    return _products(q, k, v, spec, bias, scale, soft_cap, sinks, dropout)


def one_query(rule: MaskRule, scale: float | None, soft_cap: float | None, sinks: Tensor | None) -> Callable[..., Tensor]:
    """``attend`` for a new token of each text: ``read(q, k, v, info, k_info, bias)``, where ``k_info`` describes what a cache holds.

    What ``attend`` would choose anyway, a fused kernel without a mask, is called at once where nothing is hidden from the token.
    """
    simple = soft_cap is None and sinks is None

    def read(q: Tensor, k: Tensor, v: Tensor, info: SequenceInfo, k_info: SequenceInfo, bias: Tensor | None) -> Tensor:
        if (
            simple
            and bias is None
            and k_info.valid is None
            and k_info.documents is None
            and rule.covers(k.shape[2])
            and q.dtype is k.dtype is v.dtype
            and watch.sink is None
            and chosen.heard is None
        ):
            return F.scaled_dot_product_attention(q, k, v, scale=scale, enable_gqa=q.shape[1] != k.shape[1])
        spec = MaskSpec(info, k_info, info.causal, rule)
        return attend(q, k, v, spec, bias=bias, scale=scale, soft_cap=soft_cap, sinks=sinks)

    return read


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
            and tk <= (LEAN_PRODUCTS_UP_TO if bias is None and _simple(spec, tq, tk) else LEAN_MASKS_UP_TO)
        ):
            return "products", "faster on a CPU in bf16, a few heads and queries at a time"
        return "fused", "one query at a time" if tq == 1 else "fastest on a CPU in this precision and length"
    wide_enough = min(q.shape[-1], v.shape[-1]) >= FLEX_WIDTH
    in_blocks = q.device.type == "cuda" and dropout == 0.0 and wide_enough and tq > 1 and tq % 128 == 0 and tk % 128 == 0
    if in_blocks and (soft_cap is not None or (bias is None and not _simple(spec, tq, tk))):
        return "flex", "capped scores" if soft_cap is not None else "skips the blocks that its mask hides"
    if soft_cap is not None:
        return "products", f"capped scores, and flex wants blocks of 128 positions, {FLEX_WIDTH} channels and no dropout"
    return "fused", "the device's own kernel"


def _simple(spec: MaskSpec, tq: int, tk: int) -> bool:
    """Whether no mask of all pairs is needed."""
    return spec.only_causal(tq, tk) or spec.sees_all(tq, tk)


def _fused(q: Tensor, k: Tensor, v: Tensor, spec: MaskSpec, bias: Tensor | None, scale: float | None, dropout: float) -> Tensor:
    tq, tk = q.shape[2], k.shape[2]
    grouped = q.shape[1] != k.shape[1]
    # a branch and no expression: where lengths vary, compile would hand the kernel a symbol for its flag
    causal = True if bias is None and spec.only_causal(tq, tk) else False  # noqa: SIM210
    flag = True if causal and tq > 1 else False  # noqa: SIM210
    mask: Tensor | None = None
    if not causal and not spec.sees_all(tq, tk):
        mask = spec.dense(q.device) if bias is None else bias.to(q.dtype) + spec.additive(q.dtype, q.device)
    elif bias is not None:
        mask = bias.to(q.dtype)
    # never a mask and is_causal together: the fused CPU kernel would combine them silently, the others raise
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=flag, scale=scale, enable_gqa=grouped
    )


def _products(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    spec: MaskSpec,
    bias: Tensor | None,
    scale: float | None,
    soft_cap: float | None,
    sinks: Tensor | None,
    dropout: float,
) -> Tensor:
    b, h, tq, width = q.shape
    groups, tk = k.shape[1], k.shape[2]
    scale = 1.0 / math.sqrt(width) if scale is None else scale
    if groups != h:
        k = k[:, :, None].expand(b, groups, h // groups, tk, width).reshape(b, h, tk, width)
        v = v[:, :, None].expand(b, groups, h // groups, tk, v.shape[-1]).reshape(b, h, tk, v.shape[-1])
    q3, k3, v3 = q.reshape(b * h, tq, width), k.reshape(b * h, tk, width), v.reshape(b * h, tk, v.shape[-1])
    other = soft_cap is not None or sinks is not None
    if pieces := _in_pieces(q, tk, spec, biased=bias is not None, other=other, dropout=dropout):
        mask, block = pieces
        taken = None if sinks is None else sinks.repeat(b)
        later = not _none_later(spec, tq, tk)
        dropped, keys = (None, None) if dropout == 0.0 else dropped_of((b, h, tq, tk), dropout, q.device, later=later)
        way = Way(scale, h, block, soft_cap, dropped)
        return LeanProducts.apply(q3, k3, v3, mask, bias, taken, keys, way).view(b, h, tq, v.shape[-1])
    sees_all = spec.sees_all(tq, tk)
    mask = None if sees_all else spec.additive(q.dtype, q.device)
    scores = torch.bmm(q3 * scale, k3.transpose(1, 2)).view(b, h, tq, tk)
    if soft_cap is not None:
        scores = soft_cap * torch.tanh(scores / soft_cap)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    if mask is not None:
        scores = scores + mask
    if sinks is not None:
        scores = torch.cat((scores, sinks.to(scores.dtype)[None, :, None, None].expand(b, h, tq, 1)), -1)
    weights = torch.softmax(scores, -1)[..., :tk]
    if dropout > 0.0:
        weights = dropout_of(weights, dropout)
    return torch.bmm(weights.to(v.dtype).reshape(b * h, tq, tk), v3).view(b, h, tq, v.shape[-1])


def _in_pieces(
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
    earlier = _none_later(spec, tq, tk)
    if many or ((mask.shape[0] == 1 or heads * tq * tk >= PIECE) and (recorded or earlier)):
        return mask, causal_block(tq) if earlier else tq
    return None


def _dropped_at_once(spec: MaskSpec, tq: int, tk: int) -> int:
    """Keys up to which weights of which some are dropped are kept."""
    return DROPPED_AT_ONCE_UP_TO if _none_later(spec, tq, tk) else DROPPED_ALL_SEEN_UP_TO


def _none_later(spec: MaskSpec, tq: int, tk: int) -> bool:
    """Whether no query that sees anything sees what comes after it."""
    return spec.causal and spec.is_self_attention and tq == tk and spec.q.prefix is None


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    seen: Tensor,
    *,
    bias: Tensor | None = None,
    scale: float | None = None,
    soft_cap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """The formula head by head in fp64, for tests: ``seen`` is True where a query sees a key, (B or 1, 1, Tq, Tk)."""
    b, h, tq, width = q.shape
    out = torch.empty(b, h, tq, v.shape[-1], dtype=torch.float64)
    for head in range(h):
        group = head // (h // k.shape[1])
        scores = q[:, head].double() @ k[:, group].double().transpose(-1, -2) * (width**-0.5 if scale is None else scale)
        if soft_cap is not None:
            scores = soft_cap * torch.tanh(scores / soft_cap)
        if bias is not None:
            scores = scores + bias[:, head].double()
        exponentials = torch.where(seen[:, 0], scores.exp(), torch.zeros_like(scores))
        total = exponentials.sum(-1, keepdim=True)
        if sinks is not None:
            total = total + sinks[head].double().exp()
        out[:, head] = (exponentials / total) @ v[:, group].double()
    return out.to(q.dtype)
