"""Nothing is learned, and nothing can collapse.

Roller et al. 2021, arXiv:2106.04426, section 3.1 (random hash)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import NonNegative, Positive
from components.core.sockets import SequenceInfo, info_of
from components.functional.hashing import mixed
from components.functional.routing import Routing, check_groups, flat_valid, token_choice


@register("router", "hash")
class HashRouter(nn.Module):
    """Hash router: a token's experts follow from its id alone, by a fixed hash.

    Args:
        k: experts of each token, all different, each with weight 1 / k.
        seed: another one is another hash.

    Shapes: (B, T, D) -> ``Routing`` with B * T * k choices.
    Errors: ValueError if k exceeds the experts, or where the model has no token ids.
    """

    axes = {}

    def __init__(self, n_experts: int, *, k: Positive = 1, seed: NonNegative = 0) -> None:
        super().__init__()
        check_groups(k, n_experts, 1, 1)
        self.n_experts, self.k, self.seed = n_experts, k, seed

    def choices(self, tokens: int) -> int:
        return tokens * self.k

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Routing:
        info = info_of(x, info)
        if info.ids is None:
            raise ValueError("router hash chooses by token ids, and this batch has none; choose a router that learns")
        ids = info.ids.expand(x.shape[:2]).reshape(-1, 1)
        keys = mixed(
            ids * self.n_experts + torch.arange(self.n_experts, device=x.device) + self.seed * 0x1F123BB5159A55E5 % 2**40
        )
        indices = keys.topk(self.k, -1).indices  # of each token's keys for all experts, the greatest: even, and never one twice
        weights = torch.full(indices.shape, 1 / self.k, dtype=torch.float32, device=x.device)
        return token_choice(indices, weights, self.n_experts, flat_valid(info, x))
