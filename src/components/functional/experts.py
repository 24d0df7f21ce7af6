"""Applies experts to the choices of a router without dropping any, in three ways that give the same numbers.

``grouped``: one kernel over tokens sorted by expert (half precision on accelerators). ``loop``: one product per expert that has tokens; it
reads the loads from the device. ``dense``: every expert sees every token, and tokens that did not choose it get weight 0; no size
depends on data, so it compiles and runs on meta and fake tensors. A fourth, ``even``, has the sizes of the first two where loads are even, and tells what they
hold from shapes alone; its numbers are right where the loads are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from components.core.weights import Experts, weight_of
from components.functional import chosen
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


def apply_experts(
    x: Tensor,
    routing: Routing,
    maps: Mapping[str, Experts],
    biases: Mapping[str, ExpertBias],
    formula: Formula,
    *,
    weigh: Literal["output", "input"] = "output",
    way: Literal["grouped", "loop", "dense", "even"] | None = None,
    first: int = 0,
) -> Tensor:
    """x (N, D) -> (N, D): the sum over a token's choices of weight * expert(x), or of expert(weight * x); zeros for a token without any.

    ``first``: the expert that the matrices begin with, where they are some of all; the choices of others count nothing.
    """
    way = way or fastest(x, maps)
    if chosen.heard is not None:
        chosen.tell("experts", *WAYS[way])
    count = next(iter(maps.values())).weight.shape[0]
    if count < routing.n_experts:
        routing = _held(routing, first, count, way)
    run = {"grouped": _grouped, "loop": _loop, "dense": _dense, "even": _even}[way]
    return run(x, routing, maps, biases, formula, weigh == "input")


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


def _even(
    x: Tensor,
    routing: Routing,
    maps: Mapping[str, Experts],
    biases: Mapping[str, ExpertBias],
    formula: Formula,
    weigh_input: bool,
) -> Tensor:
    order, e = routing.experts.argsort(stable=True), routing.n_experts
    tokens, weights = routing.tokens[order], routing.weights[order].to(x.dtype)[:, None]
    rows = x[tokens] * weights if weigh_input else x[tokens]
    choices, each = rows.shape[0], -(-rows.shape[0] // e)

    def multiply(name: str, z: Tensor) -> Tensor:
        y = maps[name](z)
        return y + biases[name].bias.to(y.dtype)[:, None] if name in biases else y

    piles = F.pad(rows, (0, 0, 0, each * e - choices)).view(e, each, -1)
    y = formula(piles, multiply).flatten(0, 1)[:choices]
    return torch.zeros_like(x).index_add(0, tokens, y if weigh_input else y * weights)


def _loop(
    x: Tensor,
    routing: Routing,
    maps: Mapping[str, Experts],
    biases: Mapping[str, ExpertBias],
    formula: Formula,
    weigh_input: bool,
) -> Tensor:
    load = [int(n) for n in routing.load().tolist()]
    order = routing.experts.argsort(stable=True)[: sum(load)]  # void choices are last
    tokens, weights = routing.tokens[order], routing.weights[order].to(x.dtype)[:, None]
    rows = x[tokens] * weights if weigh_input else x[tokens]
    # unbound once: a slice of its own for each expert would give the backward pass a gradient of full size for each
    matrices = {name: weight_of(m).to(x.dtype).unbind() for name, m in maps.items()}
    shifts = {name: b.bias.to(x.dtype).unbind() for name, b in biases.items()}
    pieces = []
    for expert, piece in enumerate(rows.split(load)):
        if piece.shape[0] or (expert == 0 and not sum(load)):  # without any choice too all matrices get a gradient, of zeros

            def multiply(name: str, z: Tensor, expert: int = expert) -> Tensor:
                y = z @ matrices[name][expert]
                return y + shifts[name][expert] if name in shifts else y

            pieces.append(formula(piece, multiply))
    y = torch.cat(pieces)
    return torch.zeros_like(x).index_add(0, tokens, y if weigh_input else y * weights)


def _grouped(
    x: Tensor,
    routing: Routing,
    maps: Mapping[str, Experts],
    biases: Mapping[str, ExpertBias],
    formula: Formula,
    weigh_input: bool,
) -> Tensor:
    order = routing.experts.argsort(stable=True)
    tokens, kept = routing.tokens[order], routing.kept[order][:, None]
    weights = torch.where(kept, routing.weights[order][:, None], 0.0).to(x.dtype)
    # void choices go to the last expert, whose answer counts nothing
    experts = routing.experts[order].clamp(max=routing.n_experts - 1)
    ends = routing.load().cumsum(0).to(torch.int32)
    ends = torch.cat((ends[:-1], torch.full_like(ends[:1], order.shape[0])))

    def multiply(name: str, z: Tensor) -> Tensor:
        y = F.grouped_mm(z, weight_of(maps[name]).to(z.dtype), offs=ends)
        return y + biases[name].bias.to(z.dtype)[experts] if name in biases else y

    rows = x[tokens]
    y = formula(rows * weights, multiply) * kept if weigh_input else formula(rows, multiply) * weights
    return torch.zeros_like(x).index_add(0, tokens, y)


def _dense(
    x: Tensor,
    routing: Routing,
    maps: Mapping[str, Experts],
    biases: Mapping[str, ExpertBias],
    formula: Formula,
    weigh_input: bool,
) -> Tensor:
    n, e = x.shape[0], routing.n_experts
    place = routing.tokens * (e + 1) + routing.experts

    def table(values: Tensor) -> Tensor:  # (P,) -> (E, N, 1)
        return values.new_zeros(n * (e + 1)).index_add(0, place, values).view(n, e + 1)[:, :e].t()[..., None].to(x.dtype)

    def multiply(name: str, z: Tensor) -> Tensor:
        y = maps[name](z)
        return y + biases[name].bias.to(y.dtype)[:, None] if name in biases else y

    weights = table(routing.weights)
    if weigh_input:
        return (formula(x * weights, multiply) * table(torch.ones_like(routing.weights))).sum(0)
    return (formula(x.expand(e, *x.shape), multiply) * weights).sum(0)


def experts_reference(
    x: Tensor,
    routing: Routing,
    maps: Mapping[str, Experts],
    biases: Mapping[str, ExpertBias],
    formula: Formula,
    *,
    weigh: Literal["output", "input"] = "output",
) -> Tensor:
    """The sum as written, choice by choice, in fp64; for tests."""
    out = [torch.zeros(x.shape[1], dtype=torch.float64) for _ in range(x.shape[0])]
    for token, expert, weight in zip(routing.tokens.tolist(), routing.experts.tolist(), routing.weights.double(), strict=True):
        if expert == routing.n_experts:
            continue

        def multiply(name: str, z: Tensor, expert: int = expert) -> Tensor:
            y = z @ maps[name].weight[expert].double()
            return y + biases[name].bias[expert].double() if name in biases else y

        row = x[token].double()
        y = formula(row * weight if weigh == "input" else row, multiply)
        out[token] = out[token] + (y if weigh == "input" else y * weight)
    return torch.stack(out)
