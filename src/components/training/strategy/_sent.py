"""Tokens that travel to where their experts are, and back: where ranks have their own positions and some of the experts each.

A router chooses for a rank's own positions. Choices are told to all ranks, so that all know who sends how much to whom; a token's vector goes to the
ranks of its experts alone. Lepikhin et al. 2020 (GShard), arXiv:2006.16668, section 3.2
"""

# ruff: noqa: ARG002  torch's hooks have fixed arguments
from __future__ import annotations

from dataclasses import replace
from typing import Literal, Protocol

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.abilities import SendsTokens
from components.core.collectives import side_by_side
from components.core.sockets import SequenceInfo
from components.functional.experts import LOADS, Mixture, apply_experts
from components.functional.routing import Routing
from components.training.strategy._regions import Region, Side
from components.training.strategy._sums import spread

OWN = ("ids", "positions", "documents", "valid", "token_types", "values")  # of an info: what it tells of each position


def sends(module: nn.Module, size: int) -> bool:
    """Whether ``size`` ranks with their own positions send fewer numbers if tokens travel than if each rank reads all of them."""
    return (
        isinstance(module, SendsTokens) and 0 < module.sent_choices < size and numbers_sent(module, size) < numbers_read(module)
    )


def numbers_read(mixture: SendsTokens) -> int:
    """Numbers of each token that ranks exchange in a forward pass where each rank reads all: its vector, and a part of each rank's sum."""
    return 2 * mixture.d_model


def numbers_sent(mixture: SendsTokens, size: int) -> float:
    """Likewise where tokens travel and loads are even: each choice's vector from one rank to another and back, and what all ranks are told of choices."""
    return 2 * mixture.d_model * mixture.sent_choices / size + numbers_told(mixture)


def numbers_told(mixture: SendsTokens) -> int:
    """What all ranks are told of each token: which expert of which token and its weight, for each choice; its logits and probabilities."""
    return 3 * mixture.sent_choices + 2 * mixture.n_experts


class Sent(Region):
    """Hooks around a mixture of which each rank has some experts: where it has some of the positions, their vectors are sent to the experts."""

    def __init__(self, mixture: nn.Module, group: dist.ProcessGroup) -> None:
        super().__init__(mixture, group)
        assert isinstance(mixture, SendsTokens)
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self.place, self.side = (0, 0), Side({})
        mixture.router.register_forward_pre_hook(self.asked)
        mixture.router.register_forward_hook(self.chosen)
        mixture.applied = self.applied

    def reading(self, x: object) -> object:
        return x if self.parted and isinstance(x, Tensor) else self.entering(x)

    def close(self, output: Tensor) -> Tensor:
        return output if self.parted else super().close(output)

    def asked(self, router: nn.Module, args: tuple[Tensor, SequenceInfo]) -> tuple[Tensor, SequenceInfo] | None:
        """The router reads this rank's positions, and what the info tells of these."""
        if not self.parted:
            return None
        x, info = args
        rows, own = x.shape[:2]
        self.place, self.side = (rows, own), Side(info.out)
        told = {name: getattr(info, name) for name in OWN}
        cut = {name: v.narrow(1, self.rank * own, own) for name, v in told.items() if v is not None}
        return x, info.with_(**cut, out=self.side)

    def chosen(self, router: nn.Module, args: object, routing: Routing) -> Routing | None:
        """The choices of all ranks, with tokens numbered as in whole rows."""
        if not self.parted:
            return None
        rows, own = self.place
        row, column = routing.tokens // own, routing.tokens % own
        tokens = row * (own * self.size) + self.rank * own + column
        told = side_by_side(torch.stack((tokens, routing.experts)), self.group)

        def whole(x: Tensor | None) -> Tensor | None:
            return None if x is None else spread(x.unflatten(0, (rows, own)), self.group).flatten(0, 1)

        for name, value in self.side.items():
            self.side.outer[name] = tuple(map(self.total, value)) if isinstance(value, tuple) else self.total(value)
        weights = spread(routing.weights[None], self.group)[0]
        logits, probabilities = whole(routing.logits), whole(routing.probabilities)
        return replace(routing, tokens=told[0], experts=told[1], weights=weights, logits=logits, probabilities=probabilities)

    def total(self, value: object) -> object:
        """The sum of what the ranks have counted over their own positions, as a piece has it."""
        return spread(value[None, None], self.group).sum((0, 1)) if isinstance(value, Tensor) else value

    def applied(
        self, x: Tensor, routing: Routing, mixture: Mixture, *, weigh: Literal["output", "input"] = "output", first: int = 0
    ) -> Tensor:
        """As `apply_experts`, for this rank's tokens x (N, D) and the choices of all."""
        if not self.parted:
            return apply_experts(x, routing, mixture, weigh=weigh, first=first)
        own, count = self.place[1], mixture.count
        column = routing.tokens % (own * self.size)
        home, away = column // own, routing.experts // count  # the rank of a choice's token, and that of its expert
        out, sent = self.ordered(home, away, routing)  # in both orders choices of the same two ranks stand alike
        back, received = self.ordered(away, home, routing)

        tokens = routing.tokens[out] // (own * self.size) * own + column[out] % own
        weights = routing.weights[out].to(x.dtype)[:, None]
        rows = exchanged(x[tokens] * weights if weigh == "input" else x[tokens], sent, received, self.group)
        experts, there = routing.experts[back] - first, rows.shape[0]
        if not there:  # a void choice: no product without rows
            rows, experts = F.pad(rows, (0, 0, 0, 1)), experts.new_full((1,), count)
        numbers, ones = torch.arange(rows.shape[0], device=x.device), routing.weights.new_ones(rows.shape[0])
        y = apply_experts(rows, Routing(numbers, experts, ones, count), mixture)[:there]
        y = exchanged(y, received, sent, self.group)
        return torch.zeros_like(x).index_add(0, tokens, y if weigh == "input" else y * weights)

    def ordered(self, one: Tensor, other: Tensor, routing: Routing) -> tuple[Tensor, list[int]]:
        """Places of the choices that are not void and whose ``one`` rank is this, by the ``other`` rank; and how many of them each other rank has."""
        if LOADS.even:  # which says how many
            each = len(one) // self.size**2
            return other.argsort()[: each * self.size], [each] * self.size
        places = ((one == self.rank) & routing.kept).nonzero()[:, 0]
        ranks = other[places]
        return places[ranks.argsort(stable=True)], torch.bincount(ranks, minlength=self.size).tolist()


def exchanged(x: Tensor, sent: list[int], received: list[int], group: dist.ProcessGroup) -> Tensor:
    """Rows that the ranks send one another: of x (sum of ``sent``, D) as many to each, in their order; the gradient goes back. (sum of ``received``, D)"""
    return _Exchanged.apply(x, sent, received, group)


class Context(Protocol):
    """What `_Exchanged` keeps for its backward pass."""

    back: tuple[list[int], list[int], dist.ProcessGroup]


class _Exchanged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, x: Tensor, sent: list[int], received: list[int], group: dist.ProcessGroup) -> Tensor:
        ctx.back = received, sent, group
        return _all_to_all(x, sent, received, group)

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]  # torch's takes any gradients
        return _all_to_all(grad, *ctx.back), None, None, None


def _all_to_all(x: Tensor, sent: list[int], received: list[int], group: dist.ProcessGroup) -> Tensor:
    room = x.new_empty(sum(received), *x.shape[1:])
    dist.all_to_all_single(room, x.contiguous(), received, sent, group=group)
    return room
