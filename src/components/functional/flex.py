"""FlexAttention for accelerators: windows, documents and soft caps without a T x T mask. Dong et al. 2024, arXiv:2412.05496.

On a CPU it has no backward pass (torch 2.13), so there it serves only the tests that compare its forward with the reference;
on a GPU it is compiled, which the project's own tests never ran.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from components.functional.attention_mask import MaskSpec


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=False)


def flex_attend(
    q: Tensor, k: Tensor, v: Tensor, spec: MaskSpec, *, bias: Tensor | None, scale: float | None, soft_cap: float | None
) -> Tensor:
    """As ``attend``, with what may be seen evaluated block by block from positions, documents and padding."""
    b, h, tq, _ = q.shape
    tk = k.shape[2]

    def block_mask() -> Any:
        return create_block_mask(_rule(spec, b), b, None, tq, tk, device=q.device.type)

    mask = None
    if not spec.sees_all(tq, tk):
        mask = spec.q.once(("flex", spec.rule.key, spec.causal), block_mask) if spec.is_self_attention else block_mask()

    def score(value: Tensor, row: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        if soft_cap is not None:
            value = soft_cap * torch.tanh(value / soft_cap)
        return value if bias is None else value + bias[row if bias.shape[0] > 1 else 0, head, i, j]

    changes = soft_cap is not None or bias is not None
    call = _compiled() if q.device.type == "cuda" else flex_attention
    return call(q, k, v, score_mod=score if changes else None, block_mask=mask, scale=scale, enable_gqa=h != k.shape[1])


def _rule(spec: MaskSpec, rows: int) -> Any:
    """The mask as FlexAttention wants it: a function of row, head, query and key index. The same terms as ``MaskSpec._dense``."""
    q_at, k_at = (i.positions.expand(rows, -1) for i in (spec.q, spec.k))  # type: ignore[union-attr]
    by_column = spec.is_self_attention
    q_documents, k_documents, valid, prefix = spec.q.documents, spec.k.documents, spec.k.valid, spec.q.prefix

    def seen(row: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:  # noqa: ARG001  FlexAttention's arguments
        q_position, k_position = q_at[row, i], k_at[row, j]
        if spec.causal:
            ok = j <= i if by_column else k_position <= q_position
        else:
            ok = k_position == k_position
        allowed = spec.rule.allow(q_position, k_position)
        if allowed is not None:
            ok = ok & allowed
        if spec.causal and prefix is not None:
            ok = ok | (k_position < prefix[row])
        if q_documents is not None and k_documents is not None:
            ok = ok & (q_documents[row, i] == k_documents[row, j])
        return ok if valid is None else ok & valid[row, j]

    return seen
