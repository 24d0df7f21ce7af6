"""Softmax attention for masks with a ``reach``: blocks of queries, each against the keys of its own block and of the one before.

Work and memory grow with T * reach, where one mask over the whole sequence costs T * T. Beltagy et al. 2020 (Longformer), arXiv:2004.05150, section 3.1 and
appendix A (sliding chunks)
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from components.core.sockets import SequenceInfo
from components.functional.attention_mask import MaskSpec
from components.functional.dropped_weights import dropped_of
from components.functional.pieces import Way
from components.functional.products import LeanProducts, beats_fused

SMALLEST = 64  # positions of a block: smaller ones save nothing
FEWEST = 4  # blocks from which it pays: two are seen of them


def block_of(q: Tensor, k: Tensor, spec: MaskSpec) -> int:
    """Positions of a block, or 0: a query may see a key beyond the block before its own, or the sequence is too short for blocks to pay.

    Reads tensors, so it is for CPUs, where nothing waits for that.
    """
    reach, length = spec.rule.reach, q.shape[2]
    if reach is None or not (spec.causal and spec.is_self_attention) or k.shape[2] != length or spec.q.prefix is not None:
        return 0
    size = max(reach, SMALLEST)
    if torch.compiler.is_compiling() or length < FEWEST * size:
        return 0
    if isinstance(q, FakeTensor):  # it has no numbers to look at: what a corpus gives is taken for granted
        return size
    return size if spec.q.once(("apart",), lambda: _apart(spec.q)) else 0


def _apart(info: SequenceInfo) -> bool:
    """Whether positions of one document are as far apart as their columns at least, so that a mask's reach holds for columns too."""
    steps = info.placed().diff(dim=1) >= 1
    if info.documents is not None:
        new = info.documents.diff(dim=1)
        steps, going_back = steps | (new > 0), new < 0
    else:
        going_back = torch.zeros_like(steps)
    if info.valid is not None:  # padding is seen by nobody; between valid positions it would bring columns apart
        both = info.valid[:, 1:] & info.valid[:, :-1]
        begins = (info.valid[:, 1:] & ~info.valid[:, :-1]).sum(1) + info.valid[:, 0]
        steps, going_back = steps | ~both, (going_back & both) | (begins > 1)[:, None]
    return bool((steps & ~going_back).all())


def banded_attend(
    q: Tensor, k: Tensor, v: Tensor, spec: MaskSpec, size: int, scale: float | None, dropout: float = 0.0
) -> Tensor:
    """As ``attend``, for q (B, H, T, K), k (B, G, T, K), v (B, G, T, Kv), in blocks of ``size`` as ``block_of`` gives it."""
    shape, length, grouped = (*q.shape[:3], v.shape[-1]), q.shape[2], q.shape[1] != k.shape[1]
    whole = (q.shape[0], q.shape[1], length, length)
    mask = spec.q.once(("banded", spec.rule.key, size, q.dtype), lambda: _mask(spec, size, q.dtype))
    blocks = -(-length // size)
    rows = mask.shape[0] // blocks  # rows that see alike are as heads of one
    q, k, v = (_cut(x, size, rows) for x in (q, k, v))
    q, k, v = q.flatten(0, 1), *(torch.cat((_before(x), x), 3).flatten(0, 1) for x in (k, v))
    if dropout > 0.0 or beats_fused(q):
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1).flatten(0, 1) for x in (k, v))
        factor = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
        dropped, keys = (None, None) if dropout == 0.0 else dropped_of(whole, dropout, q.device, later=False)
        if dropped is not None:
            dropped = replace(dropped, blocks=blocks, together=whole[0] // rows)
        way = Way(factor, q.shape[1], size, dropped=dropped)
        out = LeanProducts.apply(q.flatten(0, 1), k, v, mask[:, 0], None, None, keys, way).unflatten(0, q.shape[:2])
    else:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=grouped)
    out = out.unflatten(0, (rows, blocks)).transpose(1, 2).flatten(2, 3)[:, :, :length]
    return out.reshape(shape)


def _cut(x: Tensor, size: int, rows: int) -> Tensor:
    """(B, H, T, K) -> (rows, N, B / rows * H, size, K), zeros behind the last."""
    x = x.reshape(rows, -1, *x.shape[2:])
    missing = -x.shape[2] % size
    x = F.pad(x, (0, 0, 0, missing)) if missing else x
    return x.unflatten(2, (-1, size)).transpose(1, 2)


def _before(x: Tensor) -> Tensor:
    """For each block (rows, N, H, size, K) the one before it, zeros for the first."""
    return torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), 1)


def _mask(spec: MaskSpec, size: int, dtype: torch.dtype) -> Tensor:
    """(rows * N, 1, size, 2 * size) of 0 and -inf: the terms of ``MaskSpec.dense``, for the keys of two blocks. ``rows`` is 1 where all see alike."""
    info = spec.q
    positions = info.placed()
    given = [x for x in (positions, info.documents, info.valid) if x is not None]
    rows = max(x.shape[0] for x in given)

    def cut(x: Tensor) -> tuple[Tensor, Tensor]:
        """(B or 1, T) -> of queries (rows, N, size, 1), of keys (rows, N, 1, 2 * size)."""
        own = _cut(x.expand(rows, -1)[:, None, :, None], size, rows)
        return own[:, :, 0], torch.cat((_before(own), own), 3)[:, :, 0].mT

    length = positions.shape[1]
    there = torch.ones(1, length, dtype=torch.bool, device=positions.device)
    columns = torch.arange(size, device=positions.device)
    later = torch.cat((columns - size, columns)) > columns[:, None]
    seen = cut(there)[1] & ~later
    q_at, k_at = cut(positions)
    rule = spec.rule.allow(q_at.flatten(0, 1), k_at.flatten(0, 1))
    if rule is not None:
        seen = seen & rule.view(rows, -1, size, 2 * size)
    if info.documents is not None:
        q_in, k_in = cut(info.documents)
        seen = seen & (q_in == k_in)
    if info.valid is not None:
        seen = seen & cut(info.valid)[1]
    seen = (seen | ~seen.any(-1, keepdim=True)).flatten(0, 1)[:, None]
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))
