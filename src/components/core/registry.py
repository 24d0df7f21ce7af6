"""``@register(kind, name)``: how a part becomes a choice. Names no kind and no part; imports no torch.

Parts of this package are known from their source (``index.py``) and imported when they are used; parts of other packages come
by the entry-point group ``components``; parts of a running program are known as soon as their decorator has run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

from components.core.abilities import address
from components.core.entry import KINDS, LIVE, TARGETS, Entry, Kind, declare_kind, spelled_preset
from components.core.errors import Mistyped, UserError, nearest
from components.core.index import own_entries
from components.core.plugins import Fault, load, plugin_entries
from components.core.signature import Signature

__all__ = [
    "KINDS",
    "LIVE",
    "TARGETS",
    "Entry",
    "Kind",
    "declare_kind",
    "entries",
    "entry",
    "find",
    "kinds",
    "names",
    "preset",
    "register",
]

T = TypeVar("T")
collected: list[Entry] | None = None  # in the process that imports one plug-in: the entries that it registers


class UnknownPart(Mistyped):
    """No part of that name is known here."""


def register(kind: str, name: str, *, was: Iterable[str] = (), renamed: dict[str, str] | None = None) -> Callable[[T], T]:
    """Make a class (or a function that returns one's instance) the part ``kind/name``.

    Args:
        kind: one of ``KINDS``; the folder, and the last word of the Hydra group.
        name: what users write; the file's name.
        was: earlier names, which saved configs may still use.
        renamed: {old option: new option}, likewise.

    Raises:
        UserError: an unknown kind, a positional parameter that the kind's parents do not offer, a default that is no literal,
            ``**kwargs``, or a name that another package has taken.
    """

    def decorate(target: T) -> T:
        where = f"{kind}/{name}"
        if kind not in kinds():
            raise UserError(where, f"unknown kind {kind!r}", nearest(kind, KINDS, called="kinds") + "; a new one: declare_kind")
        try:
            signature = Signature.of_class(target)
        except ValueError as e:
            raise UserError(where, str(e)) from None
        for size in signature.sizes:
            if size not in KINDS[kind].sizes:
                raise UserError(
                    where,
                    f"positional parameter {size!r} is no size that a parent of a {kind} offers",
                    nearest(size, KINDS[kind].sizes, called="sizes"),
                )
        module, qualname = address(target)
        _add(
            Entry(
                kind,
                name,
                signature,
                module,
                qualname,
                module.split(".")[0],
                tuple(was),
                dict(renamed or {}),
            ),
            target,
        )
        return target

    return decorate


def preset(kind: str, name: str, *, of: str, **options: object) -> None:
    """``kind/name``: a name that people look for, spelled out as options of the part ``kind/of``. A literal call, one line."""
    base = entry(kind, of)
    _add(replace(spelled_preset(base, name, options), origin=sys._getframe(1).f_globals["__name__"].split(".")[0]), None)


def _add(entry: Entry, target: object) -> None:
    key = (entry.kind, entry.name)
    taken = LIVE.get(key) or static_entries().get(key)
    same = taken is not None and (taken.module, taken.qualname, taken.preset_of) == (
        entry.module,
        entry.qualname,
        entry.preset_of,
    )
    if taken is not None and not same and not (entry.module == taken.module == "__main__" and interactive()):
        if left_out(entry):
            return
        raise UserError(
            entry.label,
            f"the name is taken twice, by {taken.origin} ({taken.module}) and by {entry.origin} ({entry.module})",
            "rename one",
        )
    if taken is not None:
        entry = replace(entry, file=taken.file, origin=taken.origin)
        if entry.preset_of:  # its words stand in its file, which a call does not see
            words = {"sentence": taken.signature.sentence, "doc": taken.signature.doc}
            entry = replace(entry, signature=replace(entry.signature, **words))
    LIVE[key] = entry
    if target is not None:
        TARGETS[key] = target


def interactive() -> bool:
    """Whether a person types the program: in a notebook or a shell the class of a cell that runs again may have another name."""
    return "__file__" not in vars(sys.modules["__main__"])


def unregister(kind: str, name: str) -> None:
    """Forget a part that this process registered. For tests and notebooks."""
    LIVE.pop((kind, name), None)
    TARGETS.pop((kind, name), None)


@cache
def _known() -> tuple[dict[tuple[str, str], Entry], list[Fault]]:
    own = own_entries()
    plugged, faults = plugin_entries(own) if collected is None else ({}, [])
    return {**own, **plugged}, faults


def static_entries() -> dict[tuple[str, str], Entry]:
    """{(kind, name): Entry} of this package and of installed plug-ins, without importing any of them."""
    return _known()[0]


def faults() -> list[Fault]:
    """What is wrong with the installed plug-ins, as ``components list`` and ``doctor`` print it."""
    return list(_known()[1])


def left_out(entry: Entry) -> bool:
    """Was this part reported as taken twice? Then the rest of its plug-in may go on being imported."""
    if collected is not None:
        known = (entry.kind, entry.name) in LIVE  # taken by a plug-in, this one or one that it builds on: its fault
        collected.extend([] if known else [entry])
        return not known
    return any((f.part, f.module) == (entry.label, entry.module) for f in faults())


def entries(kind: str | None = None) -> dict[tuple[str, str], Entry]:
    """Every known part, ours, plug-ins' and this process's, sorted by kind and name."""
    known = {**static_entries(), **LIVE}
    return {key: known[key] for key in sorted(known) if kind is None or key[0] == kind}


def kinds() -> dict[str, Kind]:
    """Every kind by name, plug-ins' too."""
    static_entries()
    return KINDS


def names(kind: str) -> list[str]:
    return [name for _, name in entries(kind)]


def labelled(name: str) -> list[str]:
    """``norm/rms`` and every other part of that name: what a name without its kind may mean."""
    return ["/".join(key) for key in entries() if key[1] == name]


def entry(kind: str, name: str, where: str = "") -> Entry:
    """The part's entry by its name or an earlier one. UserError with the nearest name and all of them."""
    key = (kind, name)
    found = LIVE.get(key) or static_entries().get(key)
    if found is None:
        found = next((e for e in entries(kind).values() if name in e.was), None)
    if found is None:
        broken = "".join(f"; plug-in {f.origin} is broken: {f.text}" for f in faults() if not f.part)
        if kind not in KINDS:
            raise UserError(where or kind, f"unknown kind {kind!r}", nearest(kind, KINDS, called="kinds") + broken)
        raise UnknownPart(
            where or kind, f"unknown {kind} {name!r}", nearest(name, names(kind), called=f"{kind} parts") + broken
        )
    return found


def find(kind: str, name: str) -> Any:
    """The class (or function) itself; imports its module."""
    e = entry(kind, name)
    key = (kind, e.preset_of or e.name)
    if key not in TARGETS:
        import_module(e.module)
    if key not in TARGETS:
        load(e.origin)
    if key not in TARGETS:
        raise UserError(e.label, f"importing {e.module} did not register it", "the file's @register names another part")
    return TARGETS[key]
