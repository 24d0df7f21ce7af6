"""Converts their tensors to ours and back by an architecture's rules. Every fault of a checkpoint is found before anything is
read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from components.core.errors import UserError
from components.interop.architecture import Architecture, Rule, filled, pattern
from components.interop.fields import Get
from components.interop.files import Tensors, meta
from components.interop.layouts import Layout

Shapes = Mapping[str, torch.Size]
DTYPES = ("F32", "BF16", "F16", "F64")  # others are quantised, and mean nothing without their scales
SHOWN = 12  # faults that are listed; the rest is counted


@dataclass(frozen=True)
class Step:
    """One application of a rule: these tensors of theirs are these of ours."""

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    layout: Layout


def steps(architecture: Architecture, ours: Shapes, get: Get) -> list[Step]:
    """The rules' applications for a model with these tensors.

    Raises:
        UserError: no rule covers some of our tensors: the model has a part that the architecture lacks.
    """
    done: list[Step] = []
    open_names = dict.fromkeys(ours)
    for rule in architecture.tensors:
        layout = rule.layout if isinstance(rule.layout, Layout) else rule.layout(get)
        first = pattern(rule.our_names[0])
        for name in list(open_names):
            if (found := first.match(name)) is None or rule.dims not in (None, len(ours[name])):
                continue
            names = tuple(filled(n, found.groupdict()) for n in rule.our_names)
            if any(n not in open_names for n in names):
                continue
            done.append(Step(_theirs(rule, found.groupdict(), ours[name]), names, layout))  # type: ignore[arg-type]
            for n in names:
                del open_names[n]
    if open_names:
        raise UserError(
            architecture.label,
            f"has no place for {_listed(list(open_names))}",
            "leave out the parts that these belong to, or keep the model in our own format",
        )
    return done


def _theirs(rule: Rule, places: Mapping[str, str | None], shape: torch.Size) -> tuple[str, ...]:
    names = [filled(n, places) for n in rule.their_names]
    return tuple(n.replace("{e}", str(e)) for n in names for e in (range(shape[0]) if "{e}" in n else (0,)))


def read(architecture: Architecture, tensors: Tensors, ours: Shapes, get: Get, where: str) -> dict[str, Tensor]:
    """Our state dict, in the dtypes of the files.

    Raises:
        UserError: one list of the tensors that are missing, left over, or of another shape.
    """
    todo = steps(architecture, ours, get)
    there = named(architecture, tensors)
    prefix = architecture.prefix if _bare(architecture, set(there), todo) else ""
    copies = {a.removeprefix(prefix): b.removeprefix(prefix) for a, b in architecture.copies.items()}
    for name, original in copies.items():  # of two that are one, a file may have either
        if name in there and original not in there:
            there[original] = there.pop(name)
    ignored, zero = (
        [pattern(i) for i in patterns] for patterns in ((*architecture.ignored, *architecture.left), architecture.zero)
    )
    faults: list[str] = []
    used: set[str] = set()
    zeros: dict[str, Tensor] = {}
    for step in todo:
        names = [n.removeprefix(prefix) for n in step.theirs]
        used.update(names)
        wanted = step.layout.join([meta(ours[n], torch.float32) for n in step.ours])
        for name, like in zip(names, wanted, strict=True):
            if name not in there and any(z.match(name) for z in zero):
                zeros[name] = torch.zeros(like.shape)
            elif name not in there:
                faults.append(f"{name} is missing")
            elif tensors.shape(there[name]) != tuple(like.shape):
                faults.append(f"{name} is {_shape(tensors.shape(there[name]))}, not {_shape(like.shape)}")
            elif tensors.dtype(there[name]) not in DTYPES:
                faults.append(f"{name} is {tensors.dtype(there[name])}, and weights are {', '.join(DTYPES)}")
    for name in sorted(set(there) - used):
        if name in copies and copies[name] in used:
            if not torch.equal(tensors[there[name]], tensors[there[copies[name]]]):
                faults.append(f"{name} is no copy of {copies[name]}, though the config ties them")
        elif not any(i.match(name) or i.match(prefix + name) for i in ignored):
            faults.append(f"{name} has no place in the model")
    if faults:
        raise UserError(where, f"the tensors do not fit {architecture.label}: {'; '.join(faults[:SHOWN])}" + _more(faults))
    found: dict[str, Tensor] = {}
    for step in todo:
        names = [n.removeprefix(prefix) for n in step.theirs]
        theirs = [zeros[n] if n in zeros else tensors[there[n]] for n in names]
        parts = step.layout.split(theirs, [ours[n] for n in step.ours])
        found.update(zip(step.ours, (p.contiguous() for p in parts), strict=True))
    return found


def left_behind(architecture: Architecture, tensors: Tensors) -> list[str]:
    """Weights in the files that are not read because no output depends on them. Similar ones appear as a pattern and a count."""
    found: list[str] = []
    for left in architecture.left:
        one, prefix = pattern(left), architecture.prefix
        names = sorted(n for n in named(architecture, tensors) if one.match(n) or one.match(prefix + n))
        found += names if len(names) <= SHOWN else [f"{left} ({len(names)} tensors)"]
    return sorted(found)


def named(architecture: Architecture, tensors: Tensors) -> dict[str, str]:
    """{name as it is today: name in the files}."""
    made = {}
    for name in tensors.names:
        now = name
        for before, after in architecture.renamed.items():
            now = now.replace(before, after)
        made[now] = name
    return made


def write(architecture: Architecture, ours: Mapping[str, Tensor], get: Get) -> dict[str, Tensor]:
    """Their tensors from our state dict, in its dtypes."""
    made: dict[str, Tensor] = {}
    for step in steps(architecture, {n: t.shape for n, t in ours.items()}, get):
        made.update(zip(step.theirs, step.layout.join([ours[n] for n in step.ours]), strict=True))
    return dict(sorted(made.items()))


def _bare(architecture: Architecture, there: set[str], todo: Sequence[Step]) -> bool:
    """A bare model's files lack the prefix that its class with a head has (``transformer.``, ``bert.``)."""
    prefixed = [n for step in todo for n in step.theirs if architecture.prefix and n.startswith(architecture.prefix)]
    return bool(prefixed) and not there.intersection(prefixed)


def _shape(shape: Any) -> str:
    return "x".join(map(str, shape)) or "a number"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + _more(names)


def _more(faults: Sequence[object]) -> str:
    return f" and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
