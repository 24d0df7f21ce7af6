"""``@register(kind, name)``: how a part becomes a choice. Names no kind and no part; imports no torch.

Parts of this package are known from their source (``index.py``) and imported when they are used; parts of other packages come
by the entry-point group ``components``; parts of a running program are known as soon as their decorator has run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, TypeVar

from components.errors import UserError, nearest
from components.signature import Signature

T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """A family of interchangeable parts: one contract, one folder, one Hydra group. ``offers``: the sizes its parents give by name."""

    name: str
    sentence: str
    offers: tuple[str, ...] = ()
    origin: str = "components"


@dataclass(frozen=True)
class Entry:
    """One registered part. ``module:qualname`` is what is imported when it is used."""

    kind: str
    name: str
    signature: Signature
    module: str = ""
    qualname: str = ""
    origin: str = "components"
    was: tuple[str, ...] = ()
    renamed: dict[str, str] = field(default_factory=dict)
    preset_of: str = ""  # a preset: the part whose options it spells out
    sets: tuple[str, ...] = ()  # a preset: the options that it is about, which nothing earlier may set otherwise
    file: str = ""

    @property
    def label(self) -> str:
        return f"{self.kind}/{self.name}"


KINDS: dict[str, Kind] = {}
_LIVE: dict[tuple[str, str], Entry] = {}
_TARGETS: dict[tuple[str, str], Any] = {}


def declare_kind(name: str, sentence: str, offers: Iterable[str] = (), *, origin: str | None = None) -> Kind:
    """A new kind with its own contract: the sizes that its parents offer by name. ``origin``: by default the calling module."""
    kind = Kind(name, sentence, tuple(offers), origin or sys._getframe(1).f_globals["__name__"])
    known = KINDS.get(name, kind)
    if (known.sentence, known.offers) != (kind.sentence, kind.offers):
        raise UserError(name, f"the kind is declared twice, by {known.origin} and by {kind.origin}", "rename one")
    return KINDS.setdefault(name, kind)


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
            if size not in KINDS[kind].offers:
                raise UserError(
                    where,
                    f"positional parameter {size!r} is no size that a parent of a {kind} offers",
                    nearest(size, KINDS[kind].offers, called="offers"),
                )
        module = getattr(target, "__module__", "")
        _add(
            Entry(
                kind,
                name,
                signature,
                module,
                getattr(target, "__qualname__", ""),
                module.split(".")[0],
                tuple(was),
                dict(renamed or {}),
            ),
            target,
        )
        return target

    return decorate


def preset(kind: str, name: str, *, of: str, **options: Any) -> None:
    """``kind/name``: a name that people look for, spelled out as options of the part ``kind/of``. A literal call, one line."""
    base = entry(kind, of)
    _add(replace(spelled_preset(base, name, options), origin=sys._getframe(1).f_globals["__name__"].split(".")[0]), None)


def spelled_preset(base: Entry, name: str, options: dict[str, Any], sentence: str = "") -> Entry:
    """The preset's entry: the base's signature with other defaults. ``base`` may be a preset itself."""
    base.signature.check(
        f"{base.kind}/{name}", {**{o.name: o.default for o in base.signature.options.values()}, **options}, base.label
    )
    spelled = {n: replace(o, default=options[n]) if n in options else o for n, o in base.signature.options.items()}
    text = sentence or f"{base.label} with {', '.join(f'{k}={v}' for k, v in options.items())}."
    signature = replace(base.signature, options=spelled, sentence=text)
    sets = tuple(dict.fromkeys((*base.sets, *options)))  # a preset of a preset is about what both set
    return replace(base, name=name, preset_of=base.preset_of or base.name, sets=sets, signature=signature, was=())


def _add(entry: Entry, target: Any) -> None:
    from components.plugins import left_out

    key = (entry.kind, entry.name)
    taken = _LIVE.get(key) or _static().get(key)
    same = taken is not None and (taken.module, taken.qualname, taken.preset_of) == (
        entry.module,
        entry.qualname,
        entry.preset_of,
    )
    if taken is not None and not same:
        if left_out(entry):
            return
        raise UserError(
            entry.label,
            f"the name is taken twice, by {taken.origin} ({taken.module}) and by {entry.origin} ({entry.module})",
            "rename one",
        )
    _LIVE[key] = replace(entry, file=taken.file, origin=taken.origin) if taken else entry
    if target is not None:
        _TARGETS[key] = target


def unregister(kind: str, name: str) -> None:
    """Forget a part that this process registered. For tests and notebooks."""
    _LIVE.pop((kind, name), None)
    _TARGETS.pop((kind, name), None)


def _static() -> dict[tuple[str, str], Entry]:
    from components.index import static_entries

    return static_entries()


def entries(kind: str | None = None) -> dict[tuple[str, str], Entry]:
    """Every known part, ours, plug-ins' and this process's, sorted by kind and name."""
    known = {**_static(), **_LIVE}
    return {key: known[key] for key in sorted(known) if kind is None or key[0] == kind}


def kinds() -> dict[str, Kind]:
    """Every kind by name, plug-ins' too."""
    _static()
    return KINDS


def names(kind: str) -> list[str]:
    return [name for _, name in entries(kind)]


def entry(kind: str, name: str, where: str = "") -> Entry:
    """The part's entry by its name or an earlier one. UserError with the nearest name and all of them."""
    key = (kind, name)
    found = _LIVE.get(key) or _static().get(key)
    if found is None:
        found = next((e for e in entries(kind).values() if name in e.was), None)
    if found is None:
        from components.plugins import faults

        broken = "".join(f"; plug-in {f.origin} is broken: {f.text}" for f in faults() if not f.part)
        if kind not in KINDS:
            raise UserError(where or kind, f"unknown kind {kind!r}", nearest(kind, KINDS, called="kinds") + broken)
        raise UserError(where or kind, f"unknown {kind} {name!r}", nearest(name, names(kind), called=f"{kind} parts") + broken)
    return found


def find(kind: str, name: str) -> Any:
    """The class (or function) itself; imports its module."""
    from components.plugins import load

    e = entry(kind, name)
    key = (kind, e.preset_of or e.name)
    if key not in _TARGETS:
        import_module(e.module)
    if key not in _TARGETS:
        load(e.origin)
    if key not in _TARGETS:
        raise UserError(e.label, f"importing {e.module} did not register it", "the file's @register names another part")
    return _TARGETS[key]


from components import kinds as _kinds  # noqa: E402,F401  the built-in kinds declare themselves
