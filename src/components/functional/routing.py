"""A router's decisions as a list of choices, and their statistics: load, balance loss, z-loss.

A choice is one (token, expert) pair with its weight. Whether tokens or experts choose only decides how the list is made. A void
choice (padding) names the expert ``n_experts``, which does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from components.core.collectives import summed
from components.core.sockets import SequenceInfo
from components.functional.precision import at_least_fp32


@dataclass(frozen=True)
class Routing:
    """P choices over N tokens (the rows of a batch one after the other) and E experts; no pair twice.

    Args:
        tokens: (P,) whose choice it is.
        experts: (P,) which expert; E where the choice is void.
        weights: (P,) how much it counts, fp32 at least.
        logits: (N, E) before any squashing, for the z-loss; None: the router has none.
        probabilities: (N, E), rows that sum to 1, for the balance loss; None: the router has none, or needs no such loss.
    """

    tokens: Tensor
    experts: Tensor
    weights: Tensor
    n_experts: int
    logits: Tensor | None = None
    probabilities: Tensor | None = None

    @property
    def kept(self) -> Tensor:
        """(P,) False where the choice is void."""
        return self.experts < self.n_experts

    def load(self) -> Tensor:
        """(E,) choices of each expert, fp32."""
        return self._counted(self.experts, self.n_experts + 1)[: self.n_experts]

    def _counted(self, index: Tensor, size: int) -> Tensor:
        ones = torch.ones(index.shape, dtype=torch.float32, device=index.device)
        return torch.zeros(size, dtype=torch.float32, device=index.device).index_add(0, index, ones)

    def load_of(self, rows: int, length: int) -> Tensor:
        """(rows, E) choices of each expert by tokens of each of ``rows`` stretches of ``length`` tokens."""
        place = self.tokens // length * (self.n_experts + 1) + self.experts
        return self._counted(place, rows * (self.n_experts + 1)).view(rows, -1)[:, : self.n_experts]


def flat_valid(info: SequenceInfo, x: Tensor) -> Tensor | None:
    """(N,) which tokens of the rows of x (B, ..., D) are not padding. None: all."""
    return None if info.valid is None else info.valid.expand(x.shape[0], -1).reshape(-1)


def token_choice(
    indices: Tensor,
    weights: Tensor,
    n_experts: int,
    valid: Tensor | None,
    logits: Tensor | None = None,
    probabilities: Tensor | None = None,
) -> Routing:
    """The routing in which each token has k experts: indices and weights (N, k), valid (N,)."""
    n, k = indices.shape
    tokens = torch.arange(n, device=indices.device)[:, None].expand(n, k).reshape(-1)
    if valid is not None:
        indices = torch.where(valid[:, None], indices, torch.full_like(indices, n_experts))
    return Routing(tokens, indices.reshape(-1), weights.reshape(-1), n_experts, logits, probabilities)


def within_groups(scores: Tensor, n_groups: int, top_groups: int, best: int) -> Tensor:
    """Scores (N, E) with -inf outside of each token's ``top_groups`` groups, which are judged by the sum of their ``best`` best scores.

    DeepSeek-V2, arXiv:2405.04434, section 2.2.2 (best 1); DeepSeek-V3, arXiv:2412.19437, as in its inference code (best 2).
    """
    if top_groups == n_groups:
        return scores
    grouped = scores.unflatten(-1, (n_groups, -1))
    value = grouped.topk(min(best, grouped.shape[-1]), -1).values.sum(-1)
    chosen = value.topk(top_groups, -1).indices
    open_ = torch.zeros_like(value, dtype=torch.bool).scatter(-1, chosen, True)
    return grouped.masked_fill(~open_[..., None], float("-inf")).flatten(-2)


def check_groups(k: int, n_experts: int, n_groups: int, top_groups: int) -> None:
    """ValueError if k experts cannot be chosen with these groups."""
    if n_experts % n_groups:
        raise ValueError(f"n_groups={n_groups} does not divide n_experts={n_experts}; choose a divisor")
    if top_groups > n_groups:
        raise ValueError(f"top_groups={top_groups} exceeds n_groups={n_groups}; choose at most as many")
    if k > (there := n_experts // n_groups * top_groups):
        raise ValueError(f"k={k} experts are asked of {there}; choose a smaller k, or more experts or groups")


def balance_loss(routing: Routing, valid: Tensor | None, rows: int, *, over_ranks: bool = False) -> tuple[Tensor, Tensor]:
    """(sum over tokens, tokens) of E * sum_i f_i P_i: f_i is the share of choices that expert i has, P_i its mean probability.

    1 where all are even, E where one has all, for any k. f and P are taken over each of ``rows`` stretches of tokens. With
    ``over_ranks`` f is taken over the stretches of all ranks, which all call this, and the mean over ranks is the loss of all their tokens as one.
    Fedus et al. 2021, arXiv:2101.03961, equations 4 to 6; by sequence: DeepSeek-V3, arXiv:2412.19437, equations 17 to 20; over ranks: Qiu et al. 2025,
    arXiv:2501.11873, section 3.
    """
    assert routing.probabilities is not None
    p = at_least_fp32(routing.probabilities).unflatten(0, (rows, -1))
    length = p.shape[1]
    if valid is None:
        tokens = torch.full((rows, 1), length, dtype=p.dtype, device=p.device)
    else:
        there = valid.view(rows, length, 1).to(p.dtype)
        p, tokens = p * there, there.sum(1)
    load = routing.load_of(rows, length)
    if over_ranks:
        load = summed(load)
    share = load / load.sum(-1, keepdim=True).clamp(min=1.0)
    # the mean of p times the number of tokens is the sum of p
    return routing.n_experts * (share * p.sum(1)).sum(), tokens.sum()


def z_loss(routing: Routing, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """(sum, tokens) of the squared log of the softmax's denominator. Zoph et al. 2022, arXiv:2202.08906, equation 5."""
    assert routing.logits is not None
    squares = at_least_fp32(routing.logits).logsumexp(-1).square()
    if valid is None:
        return squares.sum(), torch.full((), squares.shape[0], dtype=torch.float32, device=squares.device)
    return (squares * valid).sum(), valid.sum().float()
