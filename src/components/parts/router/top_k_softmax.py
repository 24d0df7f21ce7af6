"""OpenAI 2025, gpt-oss model card, arXiv:2508.10925; Shazeer et al. 2017, arXiv:1701.06538, equations 3 to 5"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import SequenceInfo, info_of
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32
from components.functional.routing import Routing, check_groups, flat_valid, token_choice


@register("router", "top_k_softmax")
class TopKSoftmax(nn.Module):
    """Top-k softmax router: each token takes the k experts with the greatest logits, and softmax is over those k alone.

    Args:
        k: experts of each token; with 1 the weight is always 1, and the router learns nothing but balance.
        bias: whether the logits have one (gpt-oss has).

    Shapes: (B, T, D) -> ``Routing`` with B * T * k choices.
    Errors: ValueError if k exceeds the experts.
    """

    axes = {"logits": ("d_model", "experts")}

    def __init__(self, d_model: int, n_experts: int, *, k: Positive = 2, bias: bool = False) -> None:
        super().__init__()
        check_groups(k, n_experts, 1, 1)
        self.k = k
        self.logits = Linear(d_model, n_experts, bias=bias)

    def choices(self, tokens: int) -> int:
        return tokens * self.k

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Routing:
        info = info_of(x, info)
        logits = at_least_fp32(self.logits(x.reshape(-1, x.shape[-1])))
        best, indices = logits.topk(self.k, -1)
        weights = torch.softmax(best, -1)
        return token_choice(indices, weights, logits.shape[-1], flat_valid(info, x), logits, torch.softmax(logits, -1))
