"""Properties and the battery: one case for each property that applies to a part, and one for each lack that it declares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from components.check.host import ON_PATH, Host
from components.check.subject import Subject, subject_of
from components.core.errors import UserError

LACKS = ("causal", "batch_independent", "cacheable", "exact_cache_beyond_context", "documents", "round_trip")
# what an attention that reads a memory is held to once more, as the second attention of an encoder-decoder
ACROSS = (
    "keeps shape and dtype",
    "every parameter has a gradient",
    "sees no future",
    "ignores padding of the source",
    "ignores batch neighbours",
    "cached token by token equals the full pass",
    "executes the FLOPs that it reports",
)
F = TypeVar("F", bound=Callable[..., None])


class Violation(AssertionError):
    """A property that fails, with the measured figure."""


@dataclass(frozen=True)
class Property:
    """``check(host)`` raises ``Violation`` if the property fails. ``lack``: the word by which a part declares that it fails."""

    name: str
    check: Callable[[Host], None]
    kinds: tuple[str, ...]
    applies: Callable[[Host], bool]
    lack: str = ""


PROPERTIES: list[Property] = []


def holds(name: str, *kinds: str, lack: str = "", applies: Callable[[Host], bool] = lambda _: True) -> Callable[[F], F]:
    """Make a function a property of every part of these kinds. Without kinds: of all parts on a model's path.

    ``name`` is what is printed. A package that brings a kind of its own decorates the properties of its contract with this.
    """

    def decorate(check: F) -> F:
        new = Property(name, check, kinds or ON_PATH, applies, lack)
        PROPERTIES[:] = [p for p in PROPERTIES if (p.name, p.kinds) != (new.name, new.kinds)] + [new]
        return check

    return decorate


@dataclass(frozen=True)
class Case:
    """One property of one part. Calling it raises ``Violation`` if the property fails."""

    subject: Subject
    name: str
    check: Callable[[], str | None] = field(repr=False, compare=False)

    def __call__(self) -> str:
        """A remark on a property that holds: how a declared lack shows."""
        torch.manual_seed(0)
        try:
            return self.check() or ""
        except (Violation, UserError):
            raise
        except Exception as e:  # whatever a part raises is its fault, told by the property's name; the cause stays
            raise Violation(f"{type(e).__name__}: {' '.join(str(e).split())[:300]}") from e

    def __str__(self) -> str:
        return f"{self.subject.label}: {self.name}"


def battery(
    what: str | type | Subject,
    options: Iterable[str] | Mapping[str, object] = (),
    *,
    kind: str | None = None,
    device: str = "cpu",
) -> list[Case]:
    """Every case of a part, for ``@pytest.mark.parametrize("case", battery("attention/mine"), ids=str)``.

    Args:
        what: ``kind/name``, ``package.module:Class``, a class, or what ``subject_of`` made of one.
        options: the part's options, {name: value} or ``name=value`` words.
        kind: the kind of a class that is not registered.
        device: where the models are tried; what a property compares is compared on the CPU.
    """
    subject = what if isinstance(what, Subject) else subject_of(what, options, kind=kind)
    host = Host.of(subject, device)
    known = [p for p in PROPERTIES if subject.kind in p.kinds]
    if not known:
        raise UserError(
            subject.label, f"there is no battery for a {subject.kind}", f"kinds with one: {', '.join(checked_kinds())}"
        )
    cases = [Case(subject, p.name, lambda p=p: p.check(host)) for p in known if p.lack not in subject.lacks and p.applies(host)]
    if subject.kind == "attention" and host.wiring == "decoder" and "memory" in subject.declared("provides"):
        across = Host(subject, "cross", device)
        also = [p for p in known if p.name in ACROSS and p.lack not in subject.lacks and p.applies(across)]
        cases += [Case(subject, f"{p.name}, as cross attention", lambda p=p: p.check(across)) for p in also]
    return [
        *cases,
        *(Case(subject, f"lacks {word}, as declared", lambda w=word: prove(subject, w, device)) for word in subject.lacks),
    ]


def checked_kinds() -> list[str]:
    return sorted({k for p in PROPERTIES for k in p.kinds})


def prove(subject: Subject, lack: str, device: str = "cpu") -> str:
    """A declared lack must show. Returns how it shows; Violation if it does not."""
    if lack not in LACKS:
        raise Violation(f"{lack!r} is no lack; there are {', '.join(LACKS)}")
    proofs = [p for p in PROPERTIES if p.lack == lack and subject.kind in p.kinds]
    host = Host.of(subject, device)
    if lack in ("causal", "cacheable", "exact_cache_beyond_context") and host.wiring == "encoder":
        host = Host(subject, "decoder", device)  # where the property would be needed
    if host.pooled and lack in ("causal", "cacheable", "documents"):
        return "one output for the whole row"
    for p in proofs:
        try:
            p.check(host)
        except Exception as e:  # a refusal where the property is needed proves the declared lack as well
            return f"{p.name}: {' '.join(str(e).split())}"
    said = ", ".join(p.name for p in proofs) or f"no property of a {subject.kind} shows it"
    raise Violation(
        f"it is declared but does not show: {said} {'hold' if len(proofs) > 1 else 'holds' if proofs else ''}".rstrip()
    )


def assert_part(what: str | type, options: Iterable[str] | Mapping[str, object] = (), *, kind: str | None = None) -> None:
    """The whole battery in one call. AssertionError with every property that fails."""
    wrong = [f"{v.name}: {v.text}" for v in judged(battery(what, options, kind=kind)) if not v.holds]
    if wrong:
        raise AssertionError(f"{what} does not keep its contract\n  " + "\n  ".join(wrong))


@dataclass(frozen=True)
class Verdict:
    name: str
    holds: bool
    text: str = ""


def judged(cases: Iterable[Case]) -> Iterable[Verdict]:
    """The verdict of each case, yielded one by one."""
    for case in cases:
        try:
            text = case()
        except (AssertionError, UserError) as e:
            yield Verdict(case.name, False, str(e))
        else:
            yield Verdict(case.name, True, text)
