"""The modules of a model as a tree that owns each parameter once: what every count and every drawing of a model walks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from components.core import registry
from components.core.registry import Entry
from components.core.traits import stands_for


@dataclass(frozen=True)
class Owner:
    """One module.

    Args:
        name, path: of the attribute that holds it, and from the model; both empty at the root.
        module: itself.
        entry: of its class, where that is a registered part; a preset counts as the part that it spells out.
        own: {name: parameter} that stand in it directly. One that modules share stands in the first of them alone.
        children: the modules in it.
    """

    name: str
    path: str
    module: nn.Module
    entry: Entry | None
    own: Mapping[str, nn.Parameter]
    children: tuple[Owner, ...]

    @property
    def loose(self) -> int:
        """Numbers that stand in it directly."""
        return sum(p.numel() for p in self.own.values())


def parts_tree(model: nn.Module) -> Owner:
    """The whole model."""
    classes = part_classes()
    seen: set[int] = set()

    def owner(module: nn.Module, name: str, path: str) -> Owner:
        own = {n: p for n, p in module.named_parameters(recurse=False) if id(p) not in seen}
        seen.update(map(id, own.values()))
        children = tuple(owner(child, n, f"{path}.{n}".lstrip(".")) for n, child in module.named_children())
        return Owner(name, path, module, entry_of(module, classes), own, children)

    return owner(model, "", "")


def entries_of(model: nn.Module) -> dict[str, Entry]:
    """{path: entry} of every module whose class is a registered part."""
    classes = part_classes()
    found = ((path, entry_of(module, classes)) for path, module in model.named_modules())
    return {path: entry for path, entry in found if entry is not None}


def part_classes() -> dict[tuple[str, str], Entry]:
    return {(e.module, e.qualname): e for e in registry.entries().values() if not e.preset_of}


def entry_of(module: nn.Module, classes: Mapping[tuple[str, str], Entry]) -> Entry | None:
    """The entry among ``classes`` of a module's class, or of the part that the class stands for."""
    own = type(module)
    return classes.get((own.__module__, own.__qualname__)) or registry.entries().get(stands_for(own))


def name_parts(model: nn.Module) -> None:
    """Tell every module its full name as ``part_path``, once and before any wrapper: statistics and initial values are keyed by it."""
    for path, module in model.named_modules():
        module.part_path = path  # type: ignore[assignment]  # to a checker a module holds tensors and modules alone
