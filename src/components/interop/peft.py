"""Adapters in PEFT's layout, in and out: ``adapter_config.json`` and ``adapter_model.safetensors`` (Mangrulkar et al. 2022, github.com/huggingface/peft).

Its names are those of the modules of the class in transformers, which an architecture's rules know; here they are the paths of ours.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from components.core.config_types import Config
from components.core.errors import UserError
from components.core.weights import Experts
from components.interop.adapter_tensors import Change, Product, Scale, added, alike, joined, reordered, split, transposed
from components.interop.architecture import Architecture
from components.interop.faults import grouped, listed
from components.interop.files import Tensors
from components.interop.peft_config import BEFORE, CONFIG, WEIGHTS, factor_of, fields_of, node_of, patterns_of, read_fields
from components.interop.tensors import Step

NAME = re.compile(
    re.escape(BEFORE)
    + r"(?P<module>.+?)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector|ia3_l|base_layer)(?:\.weight)?\Z"
)
SAVED_WITH = ("embed_tokens", "lm_head")  # what PEFT writes the base weights of, where it adapts them


@dataclass(frozen=True)
class Adapter:
    """An adapter in our terms: the node of ``adapter=``, its tensors and those trained beside it, and the adapter_config.json that it came with."""

    node: Config
    tensors: dict[str, Tensor]
    source: Config


@dataclass(frozen=True)
class Base:
    """The model that an adapter belongs to: its rules applied, its own weights with rows in the order of theirs, and its modules (on meta) by path."""

    architecture: Architecture
    steps: Sequence[Step]
    weights: Mapping[str, Tensor]
    modules: Mapping[str, nn.Module]
    tied: bool
    orders: Mapping[str, Tensor] = field(
        default_factory=dict
    )  # {name of ours: its rows in the order of theirs}, where theirs differ

    def copies(self) -> dict[str, str]:
        """{their module: theirs} of modules that share a weight."""
        known = {n for s in self.steps for n in s.theirs}
        return {_module(a): _module(b) for a, b in self.architecture.copies.items() if a not in known and b in known}


def _module(name: str) -> str:
    return name.removesuffix(".weight")


def write(
    base: Base, node: Config, changes: Mapping[str, Change], beside: Collection[str], about: Config
) -> tuple[Config, dict[str, Tensor]]:
    """(adapter_config.json, tensors) of what an adapter does to our matrices.

    Args:
        base: the model without it.
        node: of ``adapter=``.
        changes: {path of a module of ours: what is done to its matrix}.
        beside: names of weights that are trained themselves.
        about: fields that change no number.

    Raises:
        UserError: theirs has no place for one of them.
    """
    theirs: dict[str, Change] = {}
    conv: set[str] = set()
    saved: dict[str, Tensor] = {}
    tables: set[str] = set()
    for step in base.steps:
        paths, modules = [_module(n) for n in step.ours], [_module(n) for n in step.theirs]
        parts = [_done(changes.get(path), base.orders.get(n)) for path, n in zip(paths, step.ours, strict=True)]
        if any(parts):
            theirs |= zip(
                modules, joined(step.layout, parts, [base.weights[n] for n in step.ours], step.theirs[0]), strict=True
            )
            conv |= set(modules) if transposed(step.layout) else set()
            tables |= set(modules) if isinstance(base.modules[paths[0]], nn.Embedding) else set()
        if any(n in beside for n in step.ours):
            held = [base.weights[n] for n in step.ours]
            saved |= zip(step.theirs, (t.contiguous() for t in step.layout.join(held)), strict=True)
    copies = {a: b for a, b in base.copies().items() if b in theirs}
    if base.tied and "embedding.table" in changes and not copies:
        raise UserError(
            "adapter.targets", f"{base.architecture.label} has no name for the tied head", "leave embedding.table out"
        )
    theirs |= {a: theirs[b] for a, b in copies.items()}
    made = {f"{BEFORE}{n}": t for n, t in saved.items()}
    for module, change in theirs.items():
        made |= {f"{BEFORE}{module}.{n}": t for n, t in _named(change, table=module in tables).items()}
        if module.rpartition(".")[2] in SAVED_WITH and isinstance(change, Product):
            weight = next(base.weights[s.ours[0]] for s in base.steps if f"{copies.get(module, module)}.weight" in s.theirs)
            made[f"{BEFORE}{module}.base_layer.weight"] = weight
    every = [_module(n) for s in base.steps for n in s.theirs if n.endswith(".weight")]
    fields = fields_of(node, theirs, every, sorted({n.rpartition(".")[0] for n in saved}), conv=bool(conv))
    return {**fields, **about}, {n: made[n].contiguous().clone() for n in sorted(made)}


def _done(change: Change | None, order: Tensor | None) -> Change | None:
    return change if change is None or order is None else reordered(change, order)


def _named(change: Change, *, table: bool) -> dict[str, Tensor]:
    if isinstance(change, Scale):
        return {"ia3_l": change.vector[:, None] if change.on_output else change.vector[None]}
    if table:
        return {"lora_embedding_A": change.b.t(), "lora_embedding_B": change.a.t()}
    more = {} if change.magnitude is None else {"lora_magnitude_vector": change.magnitude}
    return {"lora_A.weight": change.a, "lora_B.weight": change.b, **more}


def read(folder: Path, base: Base) -> Adapter:
    """The adapter of a folder, for this model.

    Raises:
        UserError: one list of what does not fit.
    """
    fields = read_fields(folder)
    if not (folder / WEIGHTS).exists():
        raise UserError(str(folder), f"no {WEIGHTS} there", "save the adapter as safetensors")
    files = Tensors(folder, only=WEIGHTS)
    parts: dict[str, dict[str, Tensor]] = {}
    saved: dict[str, Tensor] = {}
    for name in files.names:
        if (found := NAME.match(name)) is not None:
            parts.setdefault(found["module"], {})[found["part"]] = files[name]
        else:
            saved[name.removeprefix(BEFORE).replace(".modules_to_save.", ".")] = files[name]
    faults = [] if parts or saved else [(WEIGHTS, "holds no tensors")]
    bases = {module: held.pop("base_layer") for module, held in parts.items() if "base_layer" in held}
    theirs: dict[str, Change] = {}
    for module, held in parts.items():
        if (change := _change(module, held, fields)) is None:
            faults.append((module, f"has {', '.join(sorted(held)) or 'a base layer alone'}"))
        else:
            theirs[module] = change
    changes = _ours(base, theirs, bases, faults)
    beside: dict[str, Tensor] = {}
    for step in base.steps:
        if all(n in saved for n in step.theirs):
            values = step.layout.split([saved.pop(n) for n in step.theirs], [base.weights[n].shape for n in step.ours])
            beside |= {n: _undone(t, base.orders.get(n)) for n, t in zip(step.ours, values, strict=True)}
    faults += [(n, "has no place in the model") for n in (*saved, *theirs)]
    sizes = {n: tuple(base.weights[n].shape) for n in beside}
    faults += [(n, f"is {tuple(t.shape)}, not {sizes[n]}") for n, t in beside.items() if tuple(t.shape) != sizes[n]]
    if faults:
        raise UserError(str(folder), f"the adapter does not fit {base.architecture.label}: {listed(grouped(sorted(faults)))}")
    node, changes = _alike(base, fields, changes, list(beside))
    tensors = {n: t.contiguous() for path, c in changes.items() for n, t in added(path, c, base.modules[path]).items()}
    return Adapter(node, tensors | {n: t.contiguous() for n, t in beside.items()}, fields)


def _undone(tensor: Tensor, order: Tensor | None) -> Tensor:
    return tensor if order is None else tensor[order.argsort()]


def _change(module: str, held: Mapping[str, Tensor], fields: Config) -> Change | None:
    """What these tensors do to a matrix; None if they are no adapter's."""
    match sorted(held):
        case ["ia3_l"]:
            return Scale(held["ia3_l"].flatten(), on_output=held["ia3_l"].shape[-1] == 1)
        case ["lora_embedding_A", "lora_embedding_B"]:
            a, b = held["lora_embedding_B"].t(), held["lora_embedding_A"].t()
        case ["lora_A", "lora_B"] | ["lora_A", "lora_B", "lora_magnitude_vector"]:
            a, b = held["lora_A"], held["lora_B"]
        case _:
            return None
    rank, factor = factor_of(fields, module)
    if a.shape[0] != rank or b.shape[-1] != rank:
        said = f"{module} has rank {a.shape[0]}, and {CONFIG} says {rank}"
        raise UserError(str(WEIGHTS), said, "take both files from one folder")
    magnitude = held.get("lora_magnitude_vector")
    return Product(a, b, factor, None if magnitude is None else magnitude.flatten())


def _ours(
    base: Base, theirs: dict[str, Change], bases: Mapping[str, Tensor], faults: list[tuple[str, str]]
) -> dict[str, Change]:
    """The changes by our paths. What is taken leaves ``theirs``; ``faults`` gets what does not fit."""
    for copy, original in base.copies().items():
        twin, change = theirs.pop(copy, None), theirs.get(original)
        if (twin is None) != (change is None) or (twin is not None and change is not None and not _same(twin, change)):
            faults.append((original, f"and {copy} are one weight here, and the adapter changes them differently"))
    made: dict[str, Change] = {}
    for step in base.steps:
        modules = [_module(n) for n in step.theirs]
        there = [theirs.pop(m) for m in modules if m in theirs]
        if not there:
            continue
        if len(there) < len(modules):
            faults.append(
                (modules[0], f"and its like are one stack here, and {len(modules) - len(there)} of them have no adapter")
            )
            continue
        like = step.layout.join([torch.empty(base.weights[n].shape, device="meta") for n in step.ours])
        sizes = [tuple(t.shape[::-1] if transposed(step.layout) else t.shape) for t in like]
        if wrong := [
            (m, f"is of a matrix {'x'.join(map(str, s))} there")
            for m, c, w in zip(modules, there, sizes, strict=True)
            if (s := _size(c, w)) != w
        ]:
            faults += wrong
            continue
        if modules[0] in bases and not torch.equal(bases[modules[0]], base.weights[step.ours[0]].to(bases[modules[0]].dtype)):
            faults.append((modules[0], "comes with another weight than the base has"))
        parts = split(step.layout, there, [base.weights[n].shape for n in step.ours], modules[0])
        for name, part in zip(step.ours, parts, strict=True):
            if part is not None:
                order = base.orders.get(name)
                made[_module(name)] = part if order is None else reordered(part, order.argsort())
    return made


def _same(one: Change, other: Change) -> bool:
    if isinstance(one, Product) and isinstance(other, Product):
        return torch.equal(one.a, other.a) and torch.equal(one.b, other.b)
    return isinstance(one, Scale) and isinstance(other, Scale) and torch.equal(one.vector, other.vector)


def _size(change: Change, there: tuple[int, ...]) -> tuple[int, ...]:
    """(out, in) of the matrix that a change is made for; what it does not say is as it is there."""
    if isinstance(change, Scale):
        return (len(change.vector), there[1]) if change.on_output else (there[0], len(change.vector))
    return change.b.shape[0], change.a.shape[1]


def _alike(base: Base, fields: Config, changes: dict[str, Change], beside: list[str]) -> tuple[Config, dict[str, Change]]:
    """(node of ``adapter=``, changes with one rank and factor)."""
    kinds = (nn.Linear,) if fields["peft_type"] == "IA3" or fields.get("use_dora") else (nn.Linear, nn.Embedding, Experts)
    paths = [p for p, m in base.modules.items() if type(m) in kinds]
    if odd := [p for p in changes if p not in paths]:
        raise UserError(CONFIG, f"{odd[0]} is no linear map, and only such are adapted so here", "use_dora=false")
    if fields["peft_type"] == "IA3":
        scales = {p: c for p, c in changes.items() if isinstance(c, Scale)}
        sides = ([p for p, c in scales.items() if c.on_output is on] for on in (True, False))
        outputs, inputs = (patterns_of(chosen, paths) for chosen in sides)
        return {"name": "ia3", "outputs": outputs, "inputs": inputs, "train": beside}, changes
    rank, factor, made = alike({p: c for p, c in changes.items() if isinstance(c, Product)})
    return node_of(fields, rank, factor, patterns_of(list(changes), paths), beside), dict(made)
