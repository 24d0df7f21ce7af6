"""Sockets and makers: a parent offers its sizes by name, a part takes those that its positional parameters name.

A *maker* is anything that returns the part when called with the sizes: a registered name (``"rms"``), a node of a config
(``{"name": "rms", "eps": 1e-5}``), the class, a ``functools.partial`` of it, or any function. ``make`` is the only place where
the two meet. Imports no torch.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from components.core import registry
from components.core.abilities import HasAcross, Named, SharedByModel
from components.core.config_types import part_name
from components.core.contracts import complete
from components.core.errors import UserError
from components.core.inheriting import INHERIT as INHERIT
from components.core.inheriting import inherited as inherited_by
from components.core.signature import Signature

if TYPE_CHECKING:

    class Maker(Protocol):
        """Annotation of a socket, ``norm: Maker["norm"] = "inherit"``: a name, a mapping, a class, a partial or a function."""

        # makes `Maker["norm"]` a type; imported and not defined, so that pyright asks no part for it
        from types import GenericAlias as __class_getitem__

    class Makers(Protocol):
        """Annotation of an ordered list of parts, ``samplers: Makers["sampler"] = ()``."""

        from types import GenericAlias as __class_getitem__

        def __iter__(self) -> Iterator[Any]: ...

else:

    class Maker:
        def __class_getitem__(cls, kind: str) -> Any:
            return Callable[..., Any]

    class Makers:
        def __class_getitem__(cls, kind: str) -> Any:
            return list[Callable[..., Any]]


@dataclass(frozen=True)
class ScopedMaker:
    """A maker with what it inherits (makers by option name or kind) and its path in the config for messages."""

    maker: Any
    inherited: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


class SharedModule:
    """A maker that builds once per set of the sizes that its part takes: every user gets the same module, whose owner is the model.

    ``built`` holds the modules in the order of their making; ``adopt`` keeps them out of their users' state dicts.
    """

    # no part: `offers` are sizes of any kind, as `make` takes them
    def __init__(self, maker: Any, kind: str, **offers: Any) -> None:
        self.maker, self.kind, self.offers = maker, kind, offers
        self._built: dict[tuple[Any, ...], Any] = {}

    def __call__(self, offers: Mapping[str, Any]) -> Any:
        offers = {**offers, **self.offers}
        taken = sizes_of(self.maker, self.kind)  # layers that differ in a size that the part does not ask for share it
        key = tuple(sorted((n, repr(v)) for n, v in offers.items() if n in taken))
        if key not in self._built:
            part = make(self.maker, self.kind, **offers)
            part.shared_by_model = True
            self._built[key] = part
        return self._built[key]

    @property
    def built(self) -> list[Any]:
        return list(self._built.values())


def adopt(parent: object, name: str, child: object) -> None:
    """``parent.name = child``; a child that the model shares out stays in the model's state dict alone."""
    if isinstance(child, SharedByModel) and child.shared_by_model:
        object.__setattr__(parent, name, child)
    else:
        setattr(parent, name, child)


def make(maker: Any, kind: str, /, **offers: Any) -> Any:
    """Call ``maker`` with those of the offered sizes that its positional parameters name.

    Sockets of the part whose value is ``inherit`` take what ``ScopedMaker.inherited`` has for their name, else for their kind.

    Raises:
        UserError: an unknown name, a size that this parent does not offer, nothing to inherit, or the part's own ``ValueError``,
            each with the path in the config where it happened.
    """
    inherited: dict[str, Any] = {}
    where = ""
    while isinstance(maker, ScopedMaker):
        inherited = {**maker.inherited, **inherited}  # the nearest parent wins
        where = where or maker.where
        maker = maker.maker
    if isinstance(maker, SharedModule):
        return maker(offers)
    target, options, label = resolve(maker, kind, where)
    if offers.get("d_memory") is not None:
        target, options = _across(target, options)
    signature = signature_of(target)
    if missing := [n for n, required in signature.sizes.items() if required and n not in offers]:
        what = f"{label} needs the size {missing[0]}, which its parent does not offer here"
        raise UserError(where, what, f"built alone, it takes {', '.join(f'{n}=...' for n in missing)}")
    sizes = {n: offers[n] for n in signature.sizes if n in offers}
    options.update(_sockets(signature, options, inherited, where, label))
    try:
        part = target(**sizes, **options)
    except UserError:
        raise
    except ValueError as e:
        raise UserError(where or label, str(e)) from e
    except (RuntimeError, OverflowError) as e:  # torch's words for a size that no tensor can have
        if not any(word in str(e).lower() for word in ("overflow", "negative dimension", "too large")):
            raise
        said = ", ".join(f"{n}={v}" for n, v in {**sizes, **options}.items() if isinstance(v, int) and not isinstance(v, bool))
        what = "a size would be negative" if "negative" in str(e) else "needs more memory than any machine has"
        raise UserError(where or label, f"{what} ({said})", "choose other sizes") from e
    complete(part, kind)
    if _listener is not None:
        _listener(part, label, signature, options)
    return part


def _across(target: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What stands in ``target``'s place where a memory is read, with the options that it has: ``target.across``, if there is one."""
    across, own = target.across if isinstance(target, HasAcross) else None, signature_of(target)
    if across is None or "d_memory" in own.sizes:
        return target, options
    return across, {n: v for n, v in options.items() if n in signature_of(across).options or n not in own.options}


_listener: Callable[[Any, str, Signature, dict[str, Any]], None] | None = None


@contextmanager
def on_part_built(listener: Callable[[Any, str, Signature, dict[str, Any]], None]) -> Iterator[None]:
    """``listener(part, label, signature, options)`` hears of every part that ``make`` makes until the end of the block."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def _sockets(
    signature: Signature, options: Mapping[str, object], inherited: Mapping[str, object], where: str, label: str
) -> dict[str, ScopedMaker | list[ScopedMaker]]:
    """Every socket's maker, or those of a list, bound to what the part's own sockets may inherit; one that inherits gets what the rule finds."""
    bound: dict[str, ScopedMaker | list[ScopedMaker]] = {}
    for option in sorted(signature.sockets().values(), key=lambda o: o.name != o.type.kind):  # `norm` before `final_norm`
        name, kind = option.name, option.type.kind or ""
        value = options.get(name, option.default)
        if value is None and option.type.optional:
            continue  # nothing stands there
        path = f"{where}.{name}".lstrip(".")
        if option.type.many:
            if isinstance(value, (list, tuple)):
                bound[name] = [ScopedMaker(one, inherited, where=f"{path}.{i}") for i, one in enumerate(value)]
        elif isinstance(value, str) and value == INHERIT:
            found = inherited_by(name, kind, bound.get, inherited.get)
            if found is None:
                what = f"{label} inherits its {kind}, and nothing above offers one"
                raise UserError(path, what, f"give {name}= a name, a class or a partial")
            bound[name] = ScopedMaker(found, inherited)  # it knows its own path
        else:
            bound[name] = ScopedMaker(value, inherited, where=path)
    return bound


def make_all(makers: Any, kind: str, /, **offers: Any) -> list[Any]:
    """Each maker of a list (``Makers``), in order."""
    return [make(m, kind, **offers) for m in makers or ()]


def resolve(maker: Any, kind: str, where: str = "") -> tuple[Any, dict[str, Any], str]:
    """(what to call, its options, its name for messages)."""
    if isinstance(maker, str):
        maker = {"name": maker}
    if isinstance(maker, Mapping):
        options = {k: v for k, v in maker.items() if k not in ("name", "preset")}
        if "name" not in maker:
            raise UserError(where or kind, f"a {kind} is a name or a mapping with a name, not {dict(maker)!r}")
        e = registry.entry(kind, part_name(maker), where)
        options = {e.renamed.get(k, k): v for k, v in options.items()}
        spelled = {n: o.default for n, o in e.signature.options.items() if e.preset_of}
        options = {**spelled, **options}
        e.signature.check(where or e.label, options, e.label)
        return registry.find(kind, e.name), options, e.label
    if isinstance(maker, functools.partial):
        if maker.args:
            raise UserError(
                where or kind, "a partial with positional arguments would shift the sizes", "bind options by keyword"
            )
        target, options, label = resolve(maker.func, kind, where)
        return target, {**options, **maker.keywords}, label
    if not callable(maker):
        raise UserError(where or kind, f"{maker!r} makes no {kind}", "give a name, a node, a class or a partial")
    return maker, {}, maker.__name__ if isinstance(maker, Named) else repr(maker)


def sizes_of(maker: object, kind: str) -> dict[str, bool]:
    """The sizes that ``maker`` takes by name, each with whether it must be offered."""
    where = ""
    while isinstance(maker, (ScopedMaker, SharedModule)):
        where = where or (maker.where if isinstance(maker, ScopedMaker) else "")
        maker = maker.maker
    return signature_of(resolve(maker, kind, where)[0]).sizes


@functools.cache
def signature_of(target: Any) -> Signature:
    """The signature of anything callable; a plain function has sizes only."""
    try:
        return Signature.of_class(target)
    except (ValueError, TypeError):
        parameters = inspect.signature(target).parameters.values()
        return Signature(sizes={p.name: p.default is p.empty for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD})


def part_values(kind: str, node: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """All options of a part, defaults included, without importing it.

    Args:
        kind: of the part.
        node: ``{name, options}``.
        where: the node's path in the config, for messages; the kind if left out.

    Raises:
        UserError: an unknown part, an unknown option, or a value that the option does not take.
    """
    entry = registry.entry(kind, node.get("preset") or node["name"], where or kind)
    given = {entry.renamed.get(n, n): v for n, v in node.items() if n not in ("name", "preset")}
    entry.signature.check(where or kind, given, entry.label)
    return {**{n: o.default for n, o in entry.signature.options.items()}, **given}
