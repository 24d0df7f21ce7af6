"""The load stays even without a loss for it.

DeepSeek-V3 2024, arXiv:2412.19437, equations 12 to 16; Wang et al. 2024 (the correction), arXiv:2408.15664; with k = 1 as in Llama 4
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat, Positive
from components.core.sockets import SequenceInfo, info_of
from components.core.weights import Accumulating
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32
from components.functional.routing import Routing, check_groups, flat_valid, token_choice, within_groups


@register("router", "sigmoid_top_k")
class SigmoidTopK(Accumulating):
    """Sigmoid top-k router: each expert is scored by itself, and a correction that follows the load keeps the choice even.

    The correction is added for the choice alone and never enters a weight. It is a buffer, moved after each optimizer step, and
    stays in fp32 whatever the model is cast to.

    Args:
        k: experts of each token.
        renormalise: whether the k weights are divided by their sum (DeepSeek-V3), or stay scores (Llama 4).
        rate: how far each expert's correction moves per step, up where it had less than the mean load, down where more; 0: it stays.
        n_groups: the experts stand in so many groups, one after the other.
        top_groups: each token chooses among the experts of so many groups, those with the greatest sum of two corrected scores; null: of all.
        bias: whether the logits have one.
        corrected: whether there is a correction; false: none is kept, and rate is nothing (Llama 4).

    Shapes: (B, T, D) -> ``Routing`` with B * T * k choices.
    Errors: ValueError if n_groups does not divide the experts, or k exceeds those of top_groups groups.
    """

    axes = {"logits": ("d_model", "experts")}
    part_path = ""
    correction: Tensor | None

    def __init__(
        self,
        d_model: int,
        n_experts: int,
        *,
        k: Positive = 2,
        renormalise: bool = True,
        rate: NonNegativeFloat = 0.001,
        n_groups: Positive = 1,
        top_groups: Positive | None = None,
        bias: bool = False,
        corrected: bool = True,
    ) -> None:
        super().__init__()
        self.k, self.renormalise, self.rate, self.n_groups = k, renormalise, rate if corrected else 0.0, n_groups
        self.top_groups = n_groups if top_groups is None else top_groups
        check_groups(k, n_experts, n_groups, self.top_groups)
        self.logits = Linear(d_model, n_experts, bias=bias)
        if corrected:
            self.accumulate("correction", n_experts)
        else:
            self.register_buffer("correction", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.correction is not None:
            self.correction.zero_()

    def choices(self, tokens: int) -> int:
        return tokens * self.k

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Routing:
        info = info_of(x, info)
        logits = at_least_fp32(self.logits(x.reshape(-1, x.shape[-1])))
        scores = torch.sigmoid(logits)
        corrected = scores.detach()
        if self.correction is not None:
            corrected = corrected + self.correction.to(scores.dtype)
        indices = within_groups(corrected, self.n_groups, self.top_groups, best=2).topk(self.k, -1).indices
        weights = scores.gather(-1, indices)
        if self.renormalise:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        shares = scores / (scores.sum(-1, keepdim=True) + 1e-20)
        routing = token_choice(indices, weights, logits.shape[-1], flat_valid(info, x), logits, shares)
        if self.rate:
            info.out[f"stat.{self.part_path}.load"] = routing.load()
        return routing

    def after_step(self, stats: dict[str, Tensor]) -> None:
        load = stats.get(f"{self.part_path}.load")
        if self.rate and load is not None and self.correction is not None:
            self.correction.add_(torch.sign(load.mean() - load).to(self.correction), alpha=self.rate)
