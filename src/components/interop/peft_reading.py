"""Adapters read from PEFT's layout. Its tensors say what is adapted; of ``adapter_config.json`` only what changes numbers is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from components.core.config_types import Config
from components.core.errors import UserError
from components.core.weights import Experts
from components.functional.linear import MAPS
from components.interop.adapter_tensors import Change, Product, Scale, added, alike, reordered, split, transposed
from components.interop.faults import grouped, listed
from components.interop.files import Tensors
from components.interop.layouts import Experts as Stacked
from components.interop.layouts import Rows
from components.interop.peft import STACKS, Adapter, Base, module_of
from components.interop.peft_config import BEFORE, CONFIG, WEIGHTS, factor_of, node_of, patterns_of, read_fields

NAME = re.compile(
    re.escape(BEFORE)
    + r"(?P<module>.+?)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector|ia3_l|base_layer)(?:\.weight)?\Z"
)


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
    known = {module_of(n) for step in base.steps for n in step.theirs} | base.copies().keys()
    for module, held in parts.items():
        if many := _of_experts(base, module, held, fields) or _of_stack(base, module, held, fields):
            theirs |= many
        elif module not in known:
            faults.append((module, "has no place in the model"))
        elif (change := _change(module, held, fields)) is None:
            faults.append((module, f"has {', '.join(sorted(held)) or 'a base layer alone'}"))
        else:
            theirs[module] = change
    changes = _ours(base, theirs, bases, faults)
    beside: dict[str, Tensor] = {}
    for step in base.steps:
        if all(n in saved for n in step.theirs):
            values = step.layout.split([saved.pop(n) for n in step.theirs], [base.weights[n].shape for n in step.ours])
            beside |= {n: _undone(t, base.orders.get(n)) for n, t in zip(step.ours, values, strict=True)}
    faults += [(n, "has no place in the model") for n in saved]
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
    _of_rank(module, a.shape[0], rank)
    magnitude = held.get("lora_magnitude_vector")
    return Product(a, b, factor, None if magnitude is None else magnitude.flatten())


def _of_rank(module: str, found: int, said: int) -> None:
    if found != said:
        raise UserError(WEIGHTS, f"{module} has rank {found}, and {CONFIG} says {said}", "take both files from one folder")


def _of_experts(base: Base, module: str, held: Mapping[str, Tensor], fields: Config) -> dict[str, Change]:
    """The changes of single experts, where one product has those of all (``target_parameters``); empty if it is none such.

    A (E r, in) has the experts one after another, B (out, r E) has them in turn. Gate and up are one matrix there.
    """
    inside = module.removesuffix(".base_layer")  # of two such products on one module, the first is called so
    layer = inside.removesuffix(".experts").rpartition(".")[0]
    stacks = {
        s.ours[0].split(".")[-2]: s for s in base.steps if isinstance(s.layout, Stacked) and s.theirs[0].startswith(f"{layer}.")
    }
    if not inside.endswith(".experts") or set(held) != {"lora_A", "lora_B"} or not {"gate", "up", "out"} <= stacks.keys():
        return {}
    a, b = held["lora_A"], held["lora_B"]
    count, width, inner = base.weights[stacks["gate"].ours[0]].shape
    names = {(2 * inner, width): ("gate", "up"), (width, inner): ("out",)}.get((b.shape[0], a.shape[1]))
    if names is None:
        return {}
    rank, factor = factor_of(fields, f"{inside}.{'down_proj' if names == ('out',) else 'gate_up_proj'}")
    _of_rank(module, a.shape[0] // count, rank)
    each = zip(a.reshape(count, rank, -1), b.reshape(len(b), rank, count).permute(2, 0, 1), strict=True)
    shape = torch.Size((len(b) // len(names), a.shape[1]))
    made: dict[str, Change] = {}
    for e, (a_e, b_e) in enumerate(each):
        found = split(Rows(), [Product(a_e, b_e, factor)], [shape] * len(names), inside)
        made |= {module_of(stacks[n].theirs[e]): c for n, c in zip(names, found, strict=True) if c is not None}
    return made


def _of_stack(base: Base, module: str, held: Mapping[str, Tensor], fields: Config) -> dict[str, Change]:
    """The change of one stack among the parameters of a module, told by its sides; empty if none of them is such a stack."""
    inside = module
    while inside.endswith(".base_layer"):
        inside = inside.removesuffix(".base_layer")
    if set(held) != {"lora_A", "lora_B"} or base.architecture.model_type not in STACKS:
        return {}
    a, b = held["lora_A"], held["lora_B"]
    for step in base.steps:
        owner, shapes = step.theirs[0].rpartition(".")[0], [base.weights[n].shape for n in step.ours]
        if owner != inside or len(shapes[0]) != 3 or (sum(s[-1] for s in shapes), shapes[0][1]) != (b.shape[0], a.shape[1]):
            continue
        count = shapes[0][0]
        rank, factor = factor_of(fields, step.theirs[0])
        _of_rank(module, a.shape[0] // count, rank)
        change = Product(a.reshape(count, rank, -1), b.reshape(len(b), rank, count).permute(2, 0, 1), factor)
        return {step.theirs[0]: change}
    return {}


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
        modules = [module_of(n) for n in step.theirs]
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
                made[module_of(name)] = part if order is None else reordered(part, order.argsort())
    return made


def _same(one: Change, other: Change) -> bool:
    if isinstance(one, Product) and isinstance(other, Product):
        return torch.equal(one.a, other.a) and torch.equal(one.b, other.b)
    return isinstance(one, Scale) and isinstance(other, Scale) and torch.equal(one.vector, other.vector)


def _size(change: Change, there: tuple[int, ...]) -> tuple[int, ...]:
    """(out, in) of the matrix that a change is made for; what it does not say is as it is there."""
    if isinstance(change, Product) and change.is_stack:
        return there  # it was told by its sides
    if isinstance(change, Scale):
        return (len(change.vector), there[1]) if change.on_output else (there[0], len(change.vector))
    return change.b.shape[0], change.a.shape[1]


def _alike(base: Base, fields: Config, changes: dict[str, Change], beside: list[str]) -> tuple[Config, dict[str, Change]]:
    """(node of ``adapter=``, changes with one rank and factor)."""
    kinds = MAPS if fields["peft_type"] == "IA3" or fields.get("use_dora") else (*MAPS, nn.Embedding, Experts)
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
