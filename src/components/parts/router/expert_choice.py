"""Not tokens choose experts but experts choose tokens, the same number each, so that load is even by construction.

Zhou et al. 2022, arXiv:2202.09368, section 3.2
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import SequenceInfo, info_of
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32
from components.functional.routing import Routing, flat_valid

MOST = 10**6  # of the denominator that a capacity is read with


@register("router", "expert_choice")
class ExpertChoice(nn.Module):
    """Expert choice: each expert takes the tokens that want it most, the same number for each expert.

    Whether a token is taken depends on all others, later ones and other rows' included; a token may have many experts, or none.

    Args:
        capacity: experts per token on average: each expert takes capacity * tokens / experts of them, rounded up.

    Shapes: (B, T, D) -> ``Routing`` with as many choices for each expert.
    """

    needs = {"model": ("bidirectional",)}  # in a decoder it would tell each position of later ones
    lacks = ("causal", "batch_independent", "cacheable", "documents")
    axes = {"logits": ("d_model", "experts")}

    def __init__(self, d_model: int, n_experts: int, *, capacity: PositiveFloat = 2.0) -> None:
        super().__init__()
        self.n_experts = n_experts
        # of whole numbers: not every device has doubles, and 10 * 1.1 is 11, where floats round up to 12
        self.share = max(Fraction(capacity).limit_denominator(MOST), Fraction(1, MOST)) / n_experts
        self.logits = Linear(d_model, n_experts, bias=False)

    def taken(self, tokens: int) -> int:
        """How many of so many tokens each expert takes."""
        return min(tokens, -(-tokens * self.share.numerator // self.share.denominator))

    def choices(self, tokens: int) -> int:
        return self.n_experts * self.taken(tokens)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Routing:
        info = info_of(x, info)
        logits = at_least_fp32(self.logits(x.reshape(-1, x.shape[-1])))
        n, e = logits.shape
        scores, valid = torch.softmax(logits, -1), flat_valid(info, x)
        order = scores if valid is None else scores.masked_fill(~valid[:, None], -1.0)
        tokens = order.t().topk(self.taken(n), -1).indices  # (E, C)
        experts = torch.arange(e, device=x.device)[:, None].expand_as(tokens)
        weights = scores.t().gather(-1, tokens)
        if valid is not None:  # padding counts for nothing: with fewer tokens each expert takes fewer, the first of its list
            there = valid.sum()
            room = torch.minimum(-(-there * self.share.numerator // self.share.denominator), there)
            rank = torch.arange(tokens.shape[1], device=x.device)
            experts = torch.where(rank < room, experts, torch.full_like(experts, e))
        return Routing(tokens.reshape(-1), experts.reshape(-1), weights.reshape(-1), e, logits)
