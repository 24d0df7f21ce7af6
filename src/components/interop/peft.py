"""Adapters written in PEFT's layout: ``adapter_config.json`` and ``adapter_model.safetensors`` (Mangrulkar et al. 2022, github.com/huggingface/peft).

Its names are those of the modules of the class in transformers, which an architecture's rules know; here they are the paths of ours.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from components.core.config_types import Config
from components.core.errors import UserError
from components.interop.adapter_tensors import Change, Product, Scale, joined, reordered, transposed, trimmed
from components.interop.architecture import Architecture
from components.interop.peft_config import BEFORE, fields_of, says_the_same
from components.interop.tensors import Step

STACKS = ("gpt_oss",)  # whose stacks of experts PEFT takes as their class keeps them
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
        return {module_of(a): module_of(b) for a, b in self.architecture.copies.items() if a not in known and b in known}


def module_of(name: str) -> str:
    return name.removesuffix(".weight")


def write(
    base: Base, node: Config, changes: Mapping[str, Change], beside: Collection[str], about: Config, kept: Config
) -> tuple[Config, dict[str, Tensor]]:
    """(adapter_config.json, tensors) of what an adapter does to our matrices.

    Args:
        base: the model without it.
        node: of ``adapter=``.
        changes: {path of a module of ours: what is done to its matrix}.
        beside: names of weights that are trained themselves.
        about: fields that change no number.
        kept: an adapter_config.json that came with it, written again where it still says the same; or nothing.

    Raises:
        UserError: theirs has no place for one of them.
    """
    theirs: dict[str, Change] = {}
    conv: set[str] = set()
    saved: dict[str, Tensor] = {}
    tables: set[str] = set()
    for step in base.steps:
        paths, modules = [module_of(n) for n in step.ours], [module_of(n) for n in step.theirs]
        parts = [_done(changes.get(path), base.orders.get(n)) for path, n in zip(paths, step.ours, strict=True)]
        if any(parts):
            done = joined(step.layout, parts, [base.weights[n] for n in step.ours], step.theirs[0])
            if isinstance(done[0], Product) and done[0].is_stack and base.architecture.model_type not in STACKS:
                what = "is a stack of experts, which PEFT reads from another place or with its sides exchanged"
                raise UserError(step.theirs[0], what, "leave it out of adapter.targets, or export the whole model")
            theirs |= zip(modules, done, strict=True)
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
        made |= {f"{BEFORE}{_wrapped(module, theirs)}.{n}": t for n, t in _named(change, table=module in tables).items()}
        if module.rpartition(".")[2] in SAVED_WITH and isinstance(change, Product):
            weight = next(base.weights[s.ours[0]] for s in base.steps if f"{copies.get(module, module)}.weight" in s.theirs)
            made[f"{BEFORE}{module}.base_layer.weight"] = weight
    every = [module_of(n) for s in base.steps for n in s.theirs if n.endswith(".weight")]
    every += [*copies, *(m for m in theirs if m not in every)]
    fields = fields_of(node, theirs, every, sorted({n.rpartition(".")[0] for n in saved}), conv=bool(conv))
    fields = kept if says_the_same(kept, fields, every) else {**fields, **about}
    return fields, {n: made[n].contiguous().clone() for n in sorted(made)}


def _done(change: Change | None, order: Tensor | None) -> Change | None:
    """A change with its rows in the order of theirs."""
    change = trimmed(change) if isinstance(change, Product) else change
    return change if change is None or order is None else reordered(change, order)


def _wrapped(module: str, theirs: Mapping[str, Change]) -> str:
    """Where the tensors of a change stand. PEFT wraps a module once for each of its stacks that is adapted, the last one outermost."""
    change = theirs[module]
    if isinstance(change, Scale) or not change.is_stack:
        return module
    owner = module.rpartition(".")[0]
    stacks = [m for m, c in theirs.items() if m.rpartition(".")[0] == owner and isinstance(c, Product) and c.is_stack]
    return owner + ".base_layer" * (len(stacks) - 1 - stacks.index(module))


def _named(change: Change, *, table: bool) -> dict[str, Tensor]:
    if isinstance(change, Product) and change.is_stack:  # A (E r, in) has the experts one after another, B (out, r E) in turn
        return {"lora_A.weight": change.a.flatten(0, 1), "lora_B.weight": change.b.permute(1, 2, 0).flatten(1)}
    if isinstance(change, Scale):
        return {"ia3_l": change.vector[:, None] if change.on_output else change.vector[None]}
    if table:
        return {"lora_embedding_A": change.b.t(), "lora_embedding_B": change.a.t()}
    more = {} if change.magnitude is None else {"lora_magnitude_vector": change.magnitude}
    return {"lora_A.weight": change.a, "lora_B.weight": change.b, **more}
