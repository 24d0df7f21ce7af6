"""Clark et al. 2022 (S-BASE), arXiv:2202.01169, section 3.2; as in Megatron-LM, which chooses plainly when it does not train"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import SequenceInfo, info_of
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32
from components.functional.routing import Routing, check_groups, flat_valid, token_choice


@register("router", "sinkhorn")
class Sinkhorn(nn.Module):
    """Sinkhorn router: in training the choice is balanced over the whole batch by optimal transport; the weights are not.

    In training a token's experts therefore depend on its neighbours, later positions and other rows included; in evaluation they do not.

    Args:
        k: experts of each token; the weight is the sigmoid of the logit for 1, else the probability.
        iterations: rounds of evening out experts and tokens in turn.

    Shapes: (B, T, D) -> ``Routing`` with B * T * k choices.
    Errors: ValueError if k exceeds the experts.
    """

    lacks = ("batch_independent",)
    axes = {"logits": ("d_model", "experts")}

    def __init__(self, d_model: int, n_experts: int, *, k: Positive = 1, iterations: Positive = 8) -> None:
        super().__init__()
        check_groups(k, n_experts, 1, 1)
        self.k, self.iterations = k, iterations
        self.logits = Linear(d_model, n_experts, bias=False)

    def choices(self, tokens: int) -> int:
        return tokens * self.k

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Routing:
        info = info_of(x, info)
        logits, valid = at_least_fp32(self.logits(x.reshape(-1, x.shape[-1]))), flat_valid(info, x)
        order = logits.detach()
        if self.training:
            order = order + self.prices(order, valid)
        indices = order.topk(self.k, -1).indices
        weights = (torch.sigmoid(logits) if self.k == 1 else torch.softmax(logits, -1)).gather(-1, indices)
        return token_choice(indices, weights, logits.shape[-1], valid, logits)

    def prices(self, logits: Tensor, valid: Tensor | None) -> Tensor:
        """(E,) what is added to each expert's logits, so that exp(logits), scaled by rows and columns, gives all experts the same."""
        prices = torch.zeros_like(logits[:1])
        if valid is not None:
            logits = logits.masked_fill(~valid[:, None], -1e30)  # no -inf: a batch that is all padding must stay finite
        for _ in range(self.iterations):
            rows = -torch.logsumexp(logits + prices, -1, keepdim=True)
            if valid is not None:
                rows = torch.where(valid[:, None], rows, torch.zeros_like(rows))
            prices = -torch.logsumexp(logits + rows, 0, keepdim=True)
        return prices
