"""Gemma 4 2026 (its mixture of experts); the choice as in Shazeer et al. 2017, arXiv:1701.06538"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import Maker, SequenceInfo, info_of, make
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32
from components.functional.routing import Routing, check_groups, flat_valid, token_choice


@register("router", "normed_top_k")
class NormedTopK(nn.Module):
    """Normed top-k router: what it reads is normed first, and what an expert gives is multiplied by a learned number of its own.

    Softmax of W norm(x) / sqrt(D) over all experts; each token takes its k most probable ones, whose weights are divided by their sum and multiplied by the
    experts' numbers, 1 at first.

    Args:
        k: experts of each token.
        norm: of what it reads.

    Shapes: (B, T, D) -> ``Routing`` with B * T * k choices.
    Errors: ValueError if k exceeds the experts.
    """

    axes = {"logits": ("d_model", "experts"), "scale": ("experts",)}

    def __init__(self, d_model: int, n_experts: int, *, k: Positive = 2, norm: Maker["norm"] = "rms") -> None:
        super().__init__()
        check_groups(k, n_experts, 1, 1)
        self.k, self.root = k, d_model**-0.5
        self.norm = make(norm, "norm", dim=d_model)
        self.logits = Linear(d_model, n_experts, bias=False)
        self.scale = nn.Parameter(torch.empty(n_experts))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.scale)

    def choices(self, tokens: int) -> int:
        return tokens * self.k

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Routing:
        info = info_of(x, info)
        logits = at_least_fp32(self.logits(self.norm(x.reshape(-1, x.shape[-1])) * self.root))
        probabilities = torch.softmax(logits, -1)
        weights, indices = probabilities.topk(self.k, -1)
        weights = weights / weights.sum(-1, keepdim=True) * at_least_fp32(self.scale)[indices]
        return token_choice(indices, weights, logits.shape[-1], flat_valid(info, x), logits, probabilities)
