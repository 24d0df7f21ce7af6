"""What is known of a part and of a kind, and the three tables that hold it. The machinery that fills them stands above.

``KINDS`` holds every declared kind, ``LIVE`` the parts whose decorator has run in this process, ``TARGETS`` their classes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from components.core.errors import UserError
from components.core.signature import Signature


@dataclass(frozen=True)
class Kind:
    """A family of interchangeable parts: one contract, one folder, one Hydra group. ``sizes``: those its parents give by name."""

    name: str
    sentence: str
    sizes: tuple[str, ...] = ()
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
LIVE: dict[tuple[str, str], Entry] = {}
TARGETS: dict[tuple[str, str], Any] = {}


def declare_kind(name: str, sentence: str, sizes: Iterable[str] = (), *, origin: str | None = None) -> Kind:
    """A new kind with its own contract: the sizes that its parents offer by name. ``origin``: by default the calling module."""
    kind = Kind(name, sentence, tuple(sizes), origin or sys._getframe(1).f_globals["__name__"])
    known = KINDS.get(name, kind)
    if (known.sentence, known.sizes) != (kind.sentence, kind.sizes):
        raise UserError(name, f"the kind is declared twice, by {known.origin} and by {kind.origin}", "rename one")
    return KINDS.setdefault(name, kind)


def spelled_preset(base: Entry, name: str, options: Mapping[str, object], sentence: str = "") -> Entry:
    """The preset's entry: the base's signature with other defaults. ``base`` may be a preset itself."""
    base.signature.check(
        f"{base.kind}/{name}", {**{o.name: o.default for o in base.signature.options.values()}, **options}, base.label
    )
    spelled = {n: replace(o, default=options[n]) if n in options else o for n, o in base.signature.options.items()}
    text = sentence or f"{base.label} with {', '.join(f'{k}={v}' for k, v in options.items())}."
    signature = replace(base.signature, options=spelled, sentence=text)
    sets = tuple(dict.fromkeys((*base.sets, *options)))  # a preset of a preset is about what both set
    return replace(base, name=name, preset_of=base.preset_of or base.name, sets=sets, signature=signature, was=())


def entry_from_json(row: dict[str, Any]) -> Entry:
    return Entry(
        **{**row, "signature": Signature.from_json(row["signature"]), "was": tuple(row["was"]), "sets": tuple(row["sets"])}
    )
