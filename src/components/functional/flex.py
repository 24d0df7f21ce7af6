"""FlexAttention for accelerators: windows, documents and soft caps without a T x T mask. Dong et al. 2024, arXiv:2412.05496.

On a CPU it has no backward pass (torch 2.13), so there it serves only the tests that compare its forward with the reference;
it was never run on a GPU by the project's own tests.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from components.functional.visibility import Sight


def flex_attend(
    q: Tensor, k: Tensor, v: Tensor, sight: Sight, *, bias: Tensor | None, scale: float | None, soft_cap: float | None
) -> Tensor:
    """As ``attend``, with the mask as a rule that is evaluated blockwise."""
    b, h, tq, _ = q.shape
    tk = k.shape[2]

    def block_mask() -> Any:
        seen = sight.dense(q.device).expand(b, 1, tq, tk)
        return create_block_mask(lambda row, _, i, j: seen[row, 0, i, j], b, None, tq, tk, device=q.device.type)

    mask = (
        None
        if sight.unlimited(tq, tk)
        else sight.q.once(("flex", sight.rule.key, sight.causal, sight.itself), block_mask)
        if sight.itself
        else block_mask()
    )

    def score(value: Tensor, row: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        if soft_cap is not None:
            value = soft_cap * torch.tanh(value / soft_cap)
        return value if bias is None else value + bias[row if bias.shape[0] > 1 else 0, head, i, j]

    changes = soft_cap is not None or bias is not None
    return flex_attention(
        q, k, v, score_mod=score if changes else None, block_mask=mask, scale=scale, enable_gqa=h != k.shape[1]
    )  # type: ignore[return-value]
