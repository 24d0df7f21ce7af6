"""Shazeer et al. 2017, arXiv:1701.06538; Mixtral 2024, arXiv:2401.04088; limited to groups: DeepSeek-V2 2024, arXiv:2405.04434, section 2.2.2"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import SequenceInfo, info_of
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32
from components.functional.routing import Routing, check_groups, flat_valid, token_choice, within_groups


@register("router", "softmax_top_k")
class SoftmaxTopK(nn.Module):
    """Softmax top-k router: softmax over all experts, and each token takes its k most probable ones.

    Args:
        k: experts of each token.
        renormalise: whether the k weights are divided by their sum (Mixtral; Qwen3-MoE by option), or stay probabilities (Switch, DeepSeek-V2).
        n_groups: the experts stand in so many groups, one after the other.
        top_groups: each token chooses among the experts of so many groups, those with the best experts; null: of all.
        bias: whether the logits have one.

    Shapes: (B, T, D) -> ``Routing`` with B * T * k choices.
    Errors: ValueError if n_groups does not divide the experts, or k exceeds those of top_groups groups.
    """

    axes = {"logits": ("d_model", "experts")}

    def __init__(
        self,
        d_model: int,
        n_experts: int,
        *,
        k: Positive = 2,
        renormalise: bool = True,
        n_groups: Positive = 1,
        top_groups: Positive | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.k, self.renormalise, self.n_groups = k, renormalise, n_groups
        self.top_groups = n_groups if top_groups is None else top_groups
        check_groups(k, n_experts, n_groups, self.top_groups)
        self.logits = Linear(d_model, n_experts, bias=bias)

    def choices(self, tokens: int) -> int:
        return tokens * self.k

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Routing:
        info = info_of(x, info)
        logits = at_least_fp32(self.logits(x.reshape(-1, x.shape[-1])))
        probabilities = torch.softmax(logits, -1)
        indices = within_groups(probabilities, self.n_groups, self.top_groups, best=1).topk(self.k, -1).indices
        weights = probabilities.gather(-1, indices)
        if self.renormalise:
            weights = weights / weights.sum(-1, keepdim=True)
        return token_choice(indices, weights, logits.shape[-1], flat_valid(info, x), logits, probabilities)
