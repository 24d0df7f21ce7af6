"""The subject of a check: a registered part, a class, or a class by its address, with its options and surroundings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import yaml

from components.check.small import AROUND, SMALL, SUPPLIED
from components.core import registry
from components.core.abilities import CheckedWith
from components.core.errors import UserError, nearest
from components.core.signature import REQUIRED, Signature


@dataclass(frozen=True)
class Subject:
    """One part with its options. ``maker``: what goes into a socket. ``around``: other sockets and sizes of the model around
    it."""

    kind: str
    label: str
    maker: Any
    target: Any
    signature: Signature
    around: dict[str, Any] = field(default_factory=dict)

    def declared(self, what: str) -> Any:
        return self.signature.declared.get(what) or ()

    @property
    def lacks(self) -> tuple[str, ...]:
        return tuple(self.declared("lacks"))

    def __str__(self) -> str:
        return self.label


def subject_of(what: str | type, options: Iterable[str] | Mapping[str, object] = (), *, kind: str | None = None) -> Subject:
    """The subject that ``what`` names: ``kind/name``, ``package.module:Class``, or a class.

    Args:
        what: a class that no decorator has registered needs ``kind`` as well.
        options: {name: value}, or words as on the command line, ``window=5``; ``model.n_layers=4`` goes to the model around the part.
        kind: the kind of a class that is not registered.

    Raises:
        UserError: there is no part of that name, or the part has no such option.
    """
    if isinstance(what, str) and ":" in what:
        what = imported(what)
    if not isinstance(what, str):
        return _of_class(what, options, kind)
    found_kind, slash, name = what.rpartition("/")
    if not slash:
        parts = " or ".join(registry.labelled(what))
        instead = f"did you mean {parts}?" if parts else "components list says which there are"
        raise UserError(what, "a part is named KIND/NAME or package.module:Class", instead)
    e = registry.entry(found_kind.rpartition("/")[2], name)
    target = registry.find(e.kind, e.name)
    given, around = _given(options, e.signature, e.label)
    own, own_around = _given(target.checked_with if isinstance(target, CheckedWith) else (), e.signature, e.label)
    needed = {n for n, o in e.signature.options.items() if o.default == REQUIRED}
    supplied = {n: v for n, v in SUPPLIED.get(e.kind, {}).items() if n in needed}
    chosen = {**supplied, **SMALL.get(e.label, {}), **own, **given}
    e.signature.check(
        e.label, {**{n: o.default for n, o in e.signature.options.items() if o.default != REQUIRED}, **chosen}, e.label
    )
    around = {**AROUND.get(e.label, {}), **own_around, **around}
    return Subject(e.kind, e.label, {"name": e.name, **chosen}, target, e.signature, around)


def imported(address: str) -> type:
    """The object at ``package.module:Class``."""
    module, _, name = address.partition(":")
    found: Any
    try:
        found = import_module(module)
    except ModuleNotFoundError as e:
        if e.name is None or not (module == e.name or module.startswith(e.name + ".")):
            raise UserError(address, f"importing {module} failed: {e}") from e  # something that the module itself needs
        raise UserError(address, f"there is no module {e.name!r} here", "run this where `import` finds it") from None
    for word in name.split("."):
        if not hasattr(found, word):
            classes = [n for n, c in vars(import_module(module)).items() if inspect.isclass(c) and c.__module__ == module]
            raise UserError(address, f"{module} has no {name!r}", nearest(name, classes, called="its classes"))
        found = getattr(found, word)
    return found


def _of_class(target: type, options: Iterable[str] | Mapping[str, object], kind: str | None) -> Subject:
    for (known, name), registered in registry.TARGETS.items():
        if registered is target and kind in (None, known):
            return subject_of(f"{known}/{name}", options)
    label = f"{target.__module__}:{target.__qualname__}"
    if kind is None:
        raise UserError(
            label, "it is registered nowhere, so its kind is not known", 'decorate it with @register("KIND", "NAME")'
        )
    if kind not in registry.kinds():
        raise UserError(label, f"unknown kind {kind!r}", nearest(kind, registry.kinds(), called="kinds"))
    signature = Signature.of_class(target)
    given, around = _given(options, signature, label)
    own, own_around = _given(target.checked_with if isinstance(target, CheckedWith) else (), signature, label)
    chosen = {**own, **given}
    maker = functools.partial(target, **chosen) if chosen else target
    return Subject(kind, label, maker, target, signature, {**own_around, **around})


def _given(
    options: Iterable[str] | Mapping[str, object], signature: Signature, label: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the part's options, what goes to the model around it)."""
    pairs = options.items() if isinstance(options, Mapping) else [_pair(word, label) for word in options]
    given: dict[str, Any] = {}
    around: dict[str, Any] = {}
    for name, value in pairs:
        if name.startswith("model."):
            around[name.removeprefix("model.")] = value
        elif name not in signature.options:
            raise UserError(
                f"{label}.{name}", f"{label} has no option {name!r}", nearest(name, signature.options, called="options")
            )
        else:
            given[name] = signature.options[name].type.cast(value)
    return given, around


def _pair(word: str, label: str) -> tuple[str, object]:
    name, equals, value = word.partition("=")
    if not equals:
        raise UserError(label, f"{word!r} is no option", "give option=value")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"{label}.{name}", f"{value!r} cannot be read as a value") from None
