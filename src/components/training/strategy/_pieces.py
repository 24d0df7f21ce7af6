"""Which weights a group of ranks holds in pieces, and which parts it computes in pieces: read from what the parts say of themselves.

A part says in ``splits`` over which axes its output is a sum of pieces, and in ``axes`` which weights have these axes. Nothing else is asked of it.
A part that says nothing, or holds one that does not say the same, is computed whole by every rank of the group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn

from components.core.abilities import Splits
from components.core.errors import UserError
from components.core.sockets import Layer
from components.core.traits import asked_of
from components.core.weights import Weight, roles
from components.functional.experts import ExpertBias
from components.parts.adapter._adapted import Adapted
from components.parts.attention._positioned import Positioned
from components.training.strategy._positions import branches, check_positions
from components.training.strategy._sent import sends

WHOLE = "it does not say that it can be computed in pieces"


@dataclass
class Pieces:
    """How a model is cut.

    Args:
        cut: {id of a weight: the dimension that it is cut along}; the others are whole on each rank.
        within: ids of whole weights that pieces read, each for itself.
        once: ids of those that are added to a sum of pieces: biases of output projections.
        summed: {path: module} whose output is the sum of the pieces'.
        sent: those of ``summed`` whose experts are dealt out and get the tokens of ranks that have some of the positions each.
        joined: {path: module} whose output is the pieces' side by side: a head.
        looked_up: tables of the vocabulary in pieces.
        whole: {path: the reason why a part is not computed in pieces}, of parts with matrices of their own.
    """

    cut: dict[int, int] = field(default_factory=dict)
    within: set[int] = field(default_factory=set)
    once: set[int] = field(default_factory=set)
    summed: dict[str, nn.Module] = field(default_factory=dict)
    sent: set[nn.Module] = field(default_factory=set)
    joined: dict[str, nn.Module] = field(default_factory=dict)
    looked_up: dict[str, nn.Embedding] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)


def pieces_of(model: nn.Module, size: int, *, expert_parallel: bool = False, sequence_parallel: bool = False) -> Pieces:
    """The model in ``size`` pieces; it may be on the meta device.

    Args:
        expert_parallel: experts are dealt out, and not cut.
        sequence_parallel: between the pieces each rank has some of the positions.

    Raises:
        UserError: a part that can be computed in pieces, but not in so many equal ones; experts or positions are to be dealt out, and cannot.
    """
    found, weights = Pieces(), {id(w.parameter): w for w in roles(model)}
    layers = {f"{path}." for path, m in model.named_modules() if isinstance(m, Layer)}
    wanted: dict[str, nn.Module] = {}
    # what a branch that says nothing calls within itself reads what that branch reads: all of it, on each rank
    held = {id(m) for b in branches(model) if not _splits(b) for m in b.modules()}
    for path, module in model.named_modules():
        inside = id(module) in held or any(path.startswith(f"{p}.") for p in wanted)
        if inside or not any(path.startswith(p) for p in layers) or not _splits(module):
            continue
        if any(isinstance(m, Adapted) for m in module.modules()):
            found.whole[path] = "an adapter changes its weights"
        else:
            wanted[path] = module
    found.summed = _agreed(model, wanted, found.whole)
    for path, module in found.summed.items():
        axes = _axes(path, module, size, expert_parallel)
        _cut(found, weights, module, axes)
    if expert_parallel:
        _need_experts(found, weights)
    if sequence_parallel:
        check_positions(model, size)
    if expert_parallel and sequence_parallel:
        found.sent = {m for m in found.summed.values() if sends(m, size)}
    _vocabulary(found, weights, model, size)
    return found


def _splits(module: nn.Module) -> Mapping[str, int]:
    return module.splits if isinstance(module, Splits) else {}


def _agreed(model: nn.Module, wanted: dict[str, nn.Module], whole: dict[str, str]) -> dict[str, nn.Module]:
    """``wanted`` without those that share a position with a part that is computed whole: it has one number of heads."""
    chosen = {id(inner) for m in wanted.values() for inner in m.modules()}
    mixed = {
        id(m.position)
        for m in model.modules()
        if isinstance(m, Positioned) and m.biased and id(m) not in chosen and list(m.position.parameters())
    }
    agreed = {}
    for path, module in wanted.items():
        if any(isinstance(m, Positioned) and m.biased and id(m.position) in mixed for m in module.modules()):
            whole[path] = "a layer that is computed whole has the same position"
        else:
            agreed[path] = module
    return agreed


def _axes(path: str, module: nn.Module, size: int, expert_parallel: bool) -> set[str]:
    """Those along which its weights are cut."""
    axes: set[str] = set()
    for inner, part in module.named_modules():
        said = _splits(part)
        if "experts" in said:
            said = {axis: n for axis, n in said.items() if (axis == "experts") == expert_parallel}
        axes.update(said)
        for axis, count in said.items():
            if count % size:
                raise UserError(
                    f"{path}.{inner}".rstrip("."),
                    f"{axis}={count} does not divide into pieces for {size} devices",
                    f"take a multiple of {size}, or let fewer devices hold a layer together",
                )
    return axes


def _need_experts(found: Pieces, weights: dict[int, Weight]) -> None:
    """UserError unless there are mixtures, and all of them deal their experts out."""
    stacks = [w for w in weights.values() if len(w.axes) > 1 and w.axes[0] == "experts"]
    rest = [w.name for w in stacks if id(w.parameter) not in found.cut]
    if stacks and not rest:
        return
    reason = "no part of this model has experts"
    if rest:
        why = next((told for path, told in found.whole.items() if rest[0].startswith(f"{path}.")), WHOLE)
        reason = f"the mixture of {rest[0]} is computed whole: {why}"
    raise UserError("trainer.strategy.expert_parallel", reason, "leave it out")


def _cut(found: Pieces, weights: dict[int, Weight], module: nn.Module, axes: set[str]) -> None:
    """Note how each weight that the part reads is held."""
    for parameter in _read_by(module):
        weight = weights[id(parameter)]
        # what has as many outputs as there are experts is a router's, which chooses among all
        cut = (n for n, axis in enumerate(weight.axes) if axis in axes and weight.axes[n:] != ("experts",))
        dim = next((dimension(weight, n) for n in cut), None)
        if dim is not None:
            found.cut[id(parameter)] = dim
        elif _ends_sum(weight, found):
            found.once.add(id(parameter))
        else:
            found.within.add(id(parameter))


def _read_by(module: nn.Module) -> Iterator[nn.Parameter]:
    """Weights before biases, which ask how their weight is held."""
    positions = [m.position for m in module.modules() if isinstance(m, Positioned) and (m.biased or m.rotates)]
    for m in dict.fromkeys((*module.modules(), *(inner for position in positions for inner in position.modules()))):
        yield from sorted(m.parameters(recurse=False), key=lambda p: -p.ndim)


def _ends_sum(weight: Weight, found: Pieces) -> bool:
    """Whether it is a bias that is added to products which are sums of pieces."""
    module = weight.module
    if isinstance(module, nn.Linear):
        return weight.parameter is module.bias and found.cut.get(id(module.weight)) == 1
    return isinstance(module, ExpertBias)  # the other biases of experts are cut as their width is


def dimension(weight: Weight, n: int) -> int:
    """The dimension of the tensor that the weight's ``n``-th axis is."""
    if isinstance(weight.module, nn.Linear):
        return 0 if weight.parameter.ndim == 1 else 1 - n
    return n


def _vocabulary(found: Pieces, weights: dict[int, Weight], model: nn.Module, size: int) -> None:
    """Tables of the embedding and of the head, where both are made for it and the vocabulary divides; tokenizers do not ask by how much."""
    parts = {path: m for path, m in model.named_children() if "vocab" in _splits(m) or path in ("embedding", "head")}
    odd = [path for path, m in parts.items() if "vocab" not in _splits(m)]
    if any(_splits(m).get("vocab", size) % size for m in parts.values()):
        found.whole |= {path: f"the vocabulary is no multiple of {size}" for path in parts}
        return
    if asked_of(model) is not model:
        found.whole |= {path: "another model may read its table" for path in parts}
        return
    if any(isinstance(m, Adapted) for part in parts.values() for m in part.modules()):
        found.whole |= {path: "an adapter changes its weights" for path in parts}
        return
    for path, part in parts.items():
        if path in odd or (odd and not _of_its_own(part, parts)):
            found.whole[path] = WHOLE
            continue
        tables = {
            n: m for n, m in part.named_modules() if isinstance(m, nn.Embedding) and weights[id(m.weight)].axes[0] == "vocab"
        }
        found.looked_up |= {f"{path}.{n}": m for n, m in tables.items()}
        if not tables:
            found.joined[path] = part
        for p in part.parameters():
            axes = weights[id(p)].axes
            if "vocab" in axes:
                found.cut[id(p)] = dimension(weights[id(p)], axes.index("vocab"))
            elif not tables:
                found.within.add(id(p))


def _of_its_own(part: nn.Module, parts: dict[str, nn.Module]) -> bool:
    """Whether no other of the parts reads its tables."""
    held = set(part.modules())
    return not any(
        value in held
        for m in parts.values()
        if m is not part
        for inner in m.modules()
        for value in vars(inner).values()
        if isinstance(value, nn.Module)
    )
