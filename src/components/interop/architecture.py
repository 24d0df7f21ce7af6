"""One architecture: which config fields are which options, and which tensor is which, as data that both directions read."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

from torch import Tensor

from components.interop.fields import Field, Get
from components.interop.layouts import Layout, Same

SAME = Same()
Table = Callable[[Get], Tensor]


@dataclass(frozen=True)
class Rule:
    """``theirs`` and ``ours`` are names with placeholders: {i} a layer, {p} weight or bias, {e} each expert in turn (only in
    theirs), {name} any name.

    ``dims``: the number of our tensor's axes, if two rules share a name: an expert's ``ffn.up.weight`` has three, a dense layer's
    two.
    ``layers``: those that the rule holds for, from the spelled-out config, as ``architectures/_layers.py`` finds them by their parts; None: all.
    """

    theirs: str | tuple[str, ...]
    ours: str | tuple[str, ...]
    layout: Layout | Callable[[Get], Layout] = SAME
    dims: int | None = None
    layers: Callable[[Get], Collection[int]] | None = None

    @property
    def their_names(self) -> tuple[str, ...]:
        return (self.theirs,) if isinstance(self.theirs, str) else self.theirs

    @property
    def our_names(self) -> tuple[str, ...]:
        return (self.ours,) if isinstance(self.ours, str) else self.ours


@dataclass(frozen=True)
class Architecture:
    """A class of transformers, expressed in our parts.

    Args:
        names: of the classes, as ``architectures`` in config.json; the first is written.
        model_type: as in config.json.
        within: classes of models that read more than text, of which this is the text model: their config.json has its own as ``text_config``.
        base: the nodes that all its models have: ``{"model": {"name": "decoder", "norm": "rms"}}``.
        fields: config.json and options.
        tensors: names and layouts.
        free: more fields that change no number.
        ignored: patterns of their tensors that carry nothing (tables that are computed).
        computed: {theirs: what makes it}, tables that their files hold and our parts compute: written, and held to these numbers where read.
            A function where the spelled-out config says which there are.
        left: patterns of their weights that no output here depends on; import says that it leaves them behind.
        copies: {theirs: theirs} a tensor that may be there as a copy of another, where the two are tied.
        zero: patterns of their tensors that older files lack: they are zeros then.
        renamed: {as older files call it: as it is called now}, parts of names.
        prefix: what stands before the names of all tensors but the head's; files of a bare model lack it.
        fits: whether a config that names this class is this architecture (two may share a class), e.g. by a field's value.
    """

    names: tuple[str, ...]
    model_type: str
    base: Mapping[str, Any]
    fields: Sequence[Field]
    tensors: Sequence[Rule]
    free: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ()
    computed: Mapping[str, Table] | Callable[[Get], Mapping[str, Table]] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    zero: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    fits: Callable[[Mapping[str, Any]], bool] = lambda _: True
    within: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return self.names[0]

    def tables(self, get: Get) -> Mapping[str, Table]:
        """``computed`` for one model."""
        return self.computed(get) if callable(self.computed) else self.computed


@cache
def architectures() -> list[Architecture]:
    """All that the files in ``architectures/`` declare."""
    from components.interop import architectures as folder

    found: list[Architecture] = []
    for module in sorted(m.name for m in pkgutil.iter_modules(folder.__path__) if not m.name.startswith("_")):
        declared = import_module(f"{folder.__name__}.{module}").ARCHITECTURE
        found += [declared] if isinstance(declared, Architecture) else list(declared)
    return found


def pattern(name: str) -> re.Pattern[str]:
    """The regular expression for a name with placeholders. {i} and {p} become groups of these names; * matches anything."""
    text = re.escape(name).replace(r"\*", ".*").replace(r"\{i\}", r"(?P<i>\d+)").replace(r"\{j\}", r"(?P<j>\d+)")
    text = text.replace(r"\{name\}", "(?P<name>.+)")
    return re.compile(text.replace(r"\{p\}", "(?P<p>weight|bias)").replace(r"\{e\}", r"(?P<e>\d+)") + r"\Z")


def filled(name: str, places: Mapping[str, str | None]) -> str:
    for place, value in places.items():
        if value is not None:
            name = name.replace("{" + place + "}", value)
    return name
