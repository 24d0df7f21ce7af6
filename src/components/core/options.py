"""Options that are written once: a class below ``Options`` says an option as a field, and every part below that class has it.

    class WarmedUp(Options):
        warmup: Fraction = 0.02

    class InverseSqrt(WarmedUp):
        warmup = 0.04  # another default

A field is an annotated attribute with a literal default. It is a keyword-only option of the class and of all that build on it, and it is
set before ``__init__`` runs, which takes the rest: the sizes, and the options that it turns into something else. A field may be a socket:
its maker is there while ``__init__`` runs, and gone afterwards unless a part has taken its name.
"""

from __future__ import annotations

import copy
import functools
import inspect
from abc import ABCMeta
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from components.core.errors import UserError
from components.core.option_types import literal

# Class attributes by which a part says what it needs and gives: read from source like options, and never options themselves
DECLARATIONS = (
    *(
        "needs",
        "provides",
        "passes_on",
        "lacks",
        "refuses",
        "axes",
        "carries_in",
        "carries_out",
        "share",
        "per_layer",
        "asks",
        "gives",
    ),
)


@dataclass(frozen=True)
class Field:
    """One field: its annotation as it is written, its default, and the class that says it, in whose module the annotation is read."""

    annotation: Any
    default: Any
    owner: type


def is_field(name: str, annotation: str) -> bool:
    """Is an annotated attribute with a default an option? A constant says ``ClassVar``, what is private begins with ``_``."""
    plain = annotation.removeprefix("typing.")
    return not name.startswith("_") and name not in DECLARATIONS and not plain.startswith(("ClassVar", "Final"))


def fields_of(cls: type) -> dict[str, Field]:
    """The fields that the class itself says, without those of its bases."""
    return vars(cls).get("_own_fields", {})


def _written(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _parameters(cls: type) -> list[inspect.Parameter]:
    """What the nearest ``__init__`` takes beside the instance."""
    init: Callable[..., None] = cls.__init__  # type: ignore[misc]  # of the class, on purpose: only its signature is read
    return [] if init is object.__init__ else list(inspect.signature(init).parameters.values())[1:]


if TYPE_CHECKING:
    T = TypeVar("T")

    class OptionsType(ABCMeta):
        # Any beside T: a checker would else hold the fields in a call to be unknown, since __init__ does not take them
        def __call__(cls: type[T], *args: Any, **kwargs: Any) -> T | Any: ...

else:

    class OptionsType(type(Protocol)):  # so that a class with fields may be an ABC, or name the protocol that it keeps
        """The class of classes with fields: it takes the fields' defaults off the class, and their values out of a call."""

        # `more`: the keywords of a class statement, which are ABC's or Protocol's own
        def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **more: Any) -> None:
            super().__init__(name, bases, namespace, **more)
            inherited = {n: f for c in reversed(cls.__mro__[1:]) for n, f in fields_of(c).items()}
            annotations = inspect.get_annotations(cls)
            cls._own_fields = {}
            for field in [n for n in vars(cls) if n in inherited or is_field(n, _written(annotations.get(n, "ClassVar")))]:
                default = vars(cls)[field]
                try:
                    literal(default, field)
                except ValueError as e:
                    raise UserError(name, str(e), "an attribute that is no option says ClassVar") from None
                # without an annotation: another default for a field of a base
                before = inherited.get(field)
                said, owner = (
                    (annotations[field], cls) if field in annotations or before is None else (before.annotation, before.owner)
                )
                cls._own_fields[field] = Field(said, default, owner)
                # on the class it would hide a module of that name, which nn.Module finds only after all else has failed
                delattr(cls, field)
            cls._fields = {**inherited, **cls._own_fields}
            cls._sockets = [n for n, f in cls._fields.items() if _written(f.annotation).startswith("Maker[")]
            if "__init__" in namespace:
                cls.__init__ = _with_fields(namespace["__init__"])
            twice = [p.name for p in _parameters(cls) if p.name in cls._fields]
            if twice:
                raise UserError(name, f"{twice[0]!r} is a field and a parameter of __init__", "say it once")

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            values = {n: kwargs.pop(n) if n in kwargs else copy.deepcopy(f.default) for n, f in cls._fields.items()}
            part = cls.__new__(cls, *args, **kwargs)
            if isinstance(part, cls):
                vars(part).update(values)  # not by setattr: a module can hold nothing before its __init__ has run
                part.__init__(*args, **kwargs)
                for name in cls._sockets:
                    if vars(part).get(name) is values[name]:
                        del vars(part)[name]  # nothing has taken its name, and a copy of the part needs no makers
            return part

        @property
        def __signature__(cls) -> inspect.Signature:
            sizes = [p for p in _parameters(cls) if p.kind is not p.KEYWORD_ONLY and p.kind is not p.VAR_KEYWORD]
            rest = [p for p in _parameters(cls) if p not in sizes]
            P = inspect.Parameter
            fields = [P(n, P.KEYWORD_ONLY, default=f.default, annotation=f.annotation) for n, f in cls._fields.items()]
            return inspect.Signature([*sizes, *fields, *rest])


def _with_fields(init: Callable[..., None]) -> Callable[..., None]:
    """``init`` that takes fields as well: a class below calls ``super().__init__(sizes, lr=0.01)`` as it would anywhere."""

    @functools.wraps(init)
    def taking(self: object, *args: object, **kwargs: object) -> None:
        own = {n for n in kwargs if n in type(self)._fields}  # type: ignore[attr-defined]  # OptionsType sets them
        vars(self).update({n: kwargs.pop(n) for n in own})
        init(self, *args, **kwargs)

    return taking


class Options(metaclass=OptionsType):
    """The base of classes that say options as fields."""

    _is_protocol = False  # typing's isinstance asks it of every class of a protocol's class
