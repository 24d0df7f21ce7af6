"""Applies experts to the choices of a router without dropping any, in three ways that give the same numbers.

``grouped``: one kernel over tokens sorted by expert (half precision on accelerators). ``loop``: one product per expert that has tokens; it
reads the loads from the device. ``dense``: every expert sees every token, and tokens that did not choose it get weight 0; no size
depends on data, so it compiles and runs on meta and fake tensors. A fourth, ``even``, has the sizes of the first two where loads are even, and tells what they
hold from shapes alone; its numbers are right where the loads are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from components.core.weights import Experts, weight_of
from components.functional import chosen
from components.functional.linear import linear
from components.functional.routing import Routing

Multiply = Callable[[str, Tensor], Tensor]  # (name of a matrix, rows) -> rows times each one's expert's matrix, plus its bias
Formula = Callable[[Tensor, Multiply], Tensor]


class Loads:
    """Whether the loads of experts are taken as even; an attribute of a plain object, since dynamo does not trace a ``ContextVar``."""

    even = False


LOADS = Loads()

WAYS = {
    "grouped": ("grouped", "half precision on an accelerator: one kernel for all experts"),
    "loop": ("loop", "one product for each expert that has tokens"),
    "even": ("loop", "one product for each expert that has tokens"),  # of which it tells the sizes
    "dense": ("dense", "no size may depend on numbers"),
}


class ExpertBias(nn.Module):
    """A bias for each expert: ``bias`` (E, width), zero at first. ``axis``: the word for its width."""

    def __init__(self, count: int, width: int, axis: str) -> None:
        super().__init__()
        self.axes = {"bias": ("experts", axis)}
        self.bias = nn.Parameter(torch.empty(count, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.bias)


@dataclass(frozen=True)
class Mixture:
    """What experts are made of.

    Args:
        maps: matrices of all experts, by name.
        biases: of those that have one.
        formula: what one expert computes of its rows.
    """

    maps: Mapping[str, Experts]
    biases: Mapping[str, ExpertBias]
    formula: Formula

    @property
    def count(self) -> int:
        return next(iter(self.maps.values())).weight.shape[0]

    def multiply(self, name: str, z: Tensor) -> Tensor:
        """As many rows of every expert, (E, n, in) -> (E, n, out)."""
        y = self.maps[name](z)
        return y + self.biases[name].bias.to(y.dtype)[:, None] if name in self.biases else y


def apply_experts(
    x: Tensor,
    routing: Routing,
    mixture: Mixture,
    *,
    weigh: Literal["output", "input"] = "output",
    way: Literal["grouped", "loop", "dense", "even"] | None = None,
    first: int = 0,
) -> Tensor:
    """x (N, D) -> (N, D): the sum over a token's choices of weight * expert(x), or of expert(weight * x); zeros for a token without any.

    ``first``: the expert that the matrices begin with, where they are some of all; the choices of others count nothing.
    """
    way = way or fastest(x, mixture.maps)
    if chosen.heard is not None:
        chosen.tell("experts", *WAYS[way])
    if mixture.count < routing.n_experts:
        routing = _held(routing, first, mixture.count, way)
    run = {"grouped": _grouped, "loop": _loop, "dense": _dense, "even": _even}[way]
    return run(_Call(x, routing, mixture, weigh == "input"))


@dataclass(frozen=True)
class _Call:
    """What ``apply_experts`` was asked, and what several ways do alike."""

    x: Tensor
    routing: Routing
    mixture: Mixture
    weigh_input: bool

    def by_expert(self, count: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Of the first ``count`` choices in the order of their experts: tokens (P,), weights (P, 1), and the rows (P, D) that the formula reads."""
        order = self.routing.experts.argsort(stable=True)[:count]
        tokens, weights = self.routing.tokens[order], self.routing.weights[order].to(self.x.dtype)[:, None]
        rows = self.x[tokens]
        return tokens, weights, rows * weights if self.weigh_input else rows

    def summed(self, tokens: Tensor, weights: Tensor, y: Tensor) -> Tensor:
        """(N, D) from what the formula made of each row."""
        return torch.zeros_like(self.x).index_add(0, tokens, y if self.weigh_input else y * weights)


def _held(routing: Routing, first: int, count: int, way: str) -> Routing:
    """The choices of ``count`` experts from ``first`` on, which are numbered from 0. For ``dense`` the others stay, as void ones."""
    own = (routing.experts >= first) & (routing.experts < first + count)
    experts = torch.where(own, routing.experts - first, count)
    if way == "dense":
        return replace(routing, experts=experts, n_experts=count)
    if way == "even":  # which says how many
        kept = (~own).int().argsort(stable=True)[: len(own) * count // routing.n_experts]
    else:
        kept = own.nonzero()[:, 0]
        kept = kept if len(kept) else kept.new_zeros(1)  # a void one: no product without rows
    return replace(routing, tokens=routing.tokens[kept], experts=experts[kept], weights=routing.weights[kept], n_experts=count)


def fastest(x: Tensor, maps: Mapping[str, Experts]) -> Literal["grouped", "loop", "dense", "even"]:
    # rows of both operands must begin at multiples of 16 bytes
    aligned = all(size % 8 == 0 for m in maps.values() for size in m.weight.shape[1:])
    if x.dtype == torch.bfloat16 and x.device.type == "cuda" and aligned:
        return "grouped"
    if LOADS.even:
        return "even"
    if x.is_meta or torch.compiler.is_compiling() or isinstance(x, FakeTensor):
        return "dense"
    return "loop"


@contextmanager
def even_loads() -> Iterator[None]:
    """Inside of it all experts have as many tokens, whatever the router says: for fake tensors, which have shapes and no choices."""
    before, LOADS.even = LOADS.even, True
    try:
        yield
    finally:
        LOADS.even = before


def _even(call: _Call) -> Tensor:
    tokens, weights, rows = call.by_expert()
    choices, e = rows.shape[0], call.routing.n_experts
    each = -(-choices // e)
    piles = F.pad(rows, (0, 0, 0, each * e - choices)).view(e, each, -1)
    return call.summed(tokens, weights, call.mixture.formula(piles, call.mixture.multiply).flatten(0, 1)[:choices])


def _loop(call: _Call) -> Tensor:
    x, mixture, load = call.x, call.mixture, [int(n) for n in call.routing.load().tolist()]
    tokens, weights, rows = call.by_expert(sum(load))  # void choices are last
    # unbound once: a slice of its own for each expert would give the backward pass a gradient of full size for each
    matrices = {name: weight_of(m).to(x.dtype).unbind() for name, m in mixture.maps.items()}
    shifts = {name: b.bias.to(x.dtype).unbind() for name, b in mixture.biases.items()}
    pieces = []
    for expert, piece in enumerate(rows.split(load)):
        if piece.shape[0] or (expert == 0 and not sum(load)):  # without any choice too all matrices get a gradient, of zeros

            def multiply(name: str, z: Tensor, expert: int = expert) -> Tensor:
                y = linear(z, matrices[name][expert].t())
                return y + shifts[name][expert] if name in shifts else y

            pieces.append(mixture.formula(piece, multiply))
    return call.summed(tokens, weights, torch.cat(pieces))


def _grouped(call: _Call) -> Tensor:
    x, routing, mixture = call.x, call.routing, call.mixture
    order = routing.experts.argsort(stable=True)
    tokens, kept = routing.tokens[order], routing.kept[order][:, None]
    weights = torch.where(kept, routing.weights[order][:, None], 0.0).to(x.dtype)
    # void choices go to the last expert, whose answer counts nothing
    experts = routing.experts[order].clamp(max=routing.n_experts - 1)
    ends = routing.load().cumsum(0).to(torch.int32)
    ends = torch.cat((ends[:-1], torch.full_like(ends[:1], order.shape[0])))

    def multiply(name: str, z: Tensor) -> Tensor:
        y = F.grouped_mm(z, weight_of(mixture.maps[name]).to(z.dtype), offs=ends)
        return y + mixture.biases[name].bias.to(z.dtype)[experts] if name in mixture.biases else y

    rows = x[tokens]
    if call.weigh_input:
        return call.summed(tokens, weights, mixture.formula(rows * weights, multiply) * kept)
    return call.summed(tokens, weights, mixture.formula(rows, multiply))


def _dense(call: _Call) -> Tensor:
    x, routing, mixture = call.x, call.routing, call.mixture
    n, e = x.shape[0], routing.n_experts
    place = routing.tokens * (e + 1) + routing.experts

    def table(values: Tensor) -> Tensor:  # (P,) -> (E, N, 1)
        return values.new_zeros(n * (e + 1)).index_add(0, place, values).view(n, e + 1)[:, :e].t()[..., None].to(x.dtype)

    weights = table(routing.weights)
    if call.weigh_input:
        return (mixture.formula(x * weights, mixture.multiply) * table(torch.ones_like(routing.weights))).sum(0)
    return (mixture.formula(x.expand(e, *x.shape), mixture.multiply) * weights).sum(0)


def experts_reference(
    x: Tensor,
    routing: Routing,
    mixture: Mixture,
    *,
    weigh: Literal["output", "input"] = "output",
) -> Tensor:
    """The sum as written, choice by choice, in fp64; for tests."""
    out = [torch.zeros(x.shape[1], dtype=torch.float64) for _ in range(x.shape[0])]
    for token, expert, weight in zip(routing.tokens.tolist(), routing.experts.tolist(), routing.weights.double(), strict=True):
        if expert == routing.n_experts:
            continue

        def multiply(name: str, z: Tensor, expert: int = expert) -> Tensor:
            y = z @ mixture.maps[name].weight[expert].double()
            return y + mixture.biases[name].bias[expert].double() if name in mixture.biases else y

        row = x[token].double()
        y = mixture.formula(row * weight if weigh == "input" else row, multiply)
        out[token] = out[token] + (y if weigh == "input" else y * weight)
    return torch.stack(out)
