"""Softmax attention, by the kernel that ``attention_choice.py`` picks; the naive reference stands beside it.

Parts declare what may be seen (``MaskSpec``) and a bias; they never call a kernel. Vaswani et al. 2017, arXiv:1706.03762, eq. 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.sockets import SequenceInfo
from components.functional import chosen, watch
from components.functional.attention_choice import choose, in_pieces, none_later
from components.functional.attention_mask import MaskRule, MaskSpec
from components.functional.banded import banded_attend, block_of
from components.functional.dropout import dropout_of
from components.functional.dropped_weights import dropped_of
from components.functional.pieces import Way
from components.functional.products import LeanProducts


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
    if pieces := in_pieces(q, tk, spec, biased=bias is not None, other=other, dropout=dropout):
        mask, block = pieces
        taken = None if sinks is None else sinks.repeat(b)
        later = not none_later(spec, tq, tk)
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
