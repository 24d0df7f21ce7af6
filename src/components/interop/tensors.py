"""Converts their tensors to ours and back by an architecture's rules. Every fault of a checkpoint is found before anything is
read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from components.core.errors import UserError
from components.core.on_demand import OnDemand, outline
from components.interop.architecture import Architecture, Rule, filled, pattern
from components.interop.faults import SHOWN, grouped, listed, typos
from components.interop.fields import Get
from components.interop.files import Readable, meta
from components.interop.layouts import Layout

Shapes = Mapping[str, torch.Size]
# others are quantised, and mean nothing without their scales
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F64": torch.float64}


@dataclass(frozen=True)
class Step:
    """One application of a rule: these tensors of theirs are these of ours."""

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    layout: Layout
    rule: Rule


def steps(architecture: Architecture, ours: Shapes, get: Get) -> list[Step]:
    """The rules' applications for a model with these tensors.

    Raises:
        UserError: no rule covers some of our tensors: the model has a part that the architecture lacks. Or a rule's layout makes more or fewer
            tensors of ours than the rule names of theirs.
    """
    done: list[Step] = []
    open_names = dict.fromkeys(ours)
    for rule in architecture.tensors:
        layout = rule.layout if isinstance(rule.layout, Layout) else rule.layout(get)
        first = pattern(rule.our_names[0])
        layers = None if rule.layers is None else set(rule.layers(get))
        for name in list(open_names):
            if (found := first.match(name)) is None or rule.dims not in (None, len(ours[name])):
                continue
            if layers is not None and int(found["i"]) not in layers:
                continue
            names = tuple(filled(n, found.groupdict()) for n in rule.our_names)
            if any(n not in open_names for n in names):
                continue
            done.append(_checked(Step(_theirs(rule, found.groupdict(), ours[name]), names, layout, rule), ours))
            for n in names:
                del open_names[n]
    if open_names:
        typed = typos(idle(architecture, done), open_names)
        raise UserError(
            architecture.label,
            f"has no place for {listed(grouped((n, '') for n in open_names), ', ')}" + "".join(f"; {t}" for t in typed),
            "leave out the parts that these belong to, or keep the model in our own format" if not typed else "",
        )
    return done


def idle(architecture: Architecture, done: Sequence[Step]) -> list[Rule]:
    """The rules that no step applies: they match none of the model's tensors."""
    used = {id(step.rule) for step in done}
    return [rule for rule in architecture.tensors if id(rule) not in used]


def _checked(step: Step, ours: Shapes) -> Step:
    """A layout that is forgotten, or another's, gives another number of tensors, or cannot take these shapes at all."""
    like = [meta(ours[n], torch.float32) for n in step.ours]
    held = ", ".join(f"{n} ({_shape(ours[n])})" for n in step.ours)
    form = f"{type(step.layout).__name__}()"
    try:
        made = step.layout.join(like)
    except (RuntimeError, ValueError, IndexError, TypeError) as e:
        said = str(e).splitlines()[0]
        raise UserError(
            step.theirs[0], f"layout {form} cannot make it of {held}: {said}", "give its rule another layout"
        ) from e
    if len(made) != len(step.theirs):
        said = f"its rule names {len(step.theirs)} of theirs, and layout {form} makes {len(made)} of {held}"
        raise UserError(step.theirs[0], said, "give its rule a layout that joins them, such as Rows()")
    return step


def _theirs(rule: Rule, places: Mapping[str, str | None], shape: torch.Size) -> tuple[str, ...]:
    names = [filled(n, places) for n in rule.their_names]
    return tuple(n.replace("{e}", str(e)) for n in names for e in (range(shape[0]) if "{e}" in n else (0,)))


def read(architecture: Architecture, tensors: Readable, ours: Shapes, get: Get, where: str) -> OnDemand:
    """Our state dict, in the dtypes of the files. A tensor is read and converted when it is asked for.

    Raises:
        UserError: one list of the tensors that are missing, left over, or of another shape.
    """
    todo = steps(architecture, ours, get)
    there = named(architecture, tensors)
    prefix = architecture.prefix if _bare(architecture, set(there), todo) else ""
    copies = {a.removeprefix(prefix): b.removeprefix(prefix) for a, b in architecture.copies.items()}
    computed = {name.removeprefix(prefix): table for name, table in architecture.tables(get).items()}
    for name, original in copies.items():  # of two that are one, a file may have either
        if name in there and original not in there:
            there[original] = there.pop(name)
    ignored, zero = (
        [pattern(i) for i in patterns] for patterns in ((*architecture.ignored, *architecture.left), architecture.zero)
    )
    faults: list[tuple[str, str]] = []  # a tensor's name, what is wrong with it
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
                faults.append((name, "is missing"))
            elif tensors.shape(there[name]) != tuple(like.shape):
                faults.append((name, _misshapen(tensors.shape(there[name]), tuple(like.shape))))
            elif tensors.dtype(there[name]) not in DTYPES:
                faults.append((name, f"is {tensors.dtype(there[name])}, and weights are {', '.join(DTYPES)}"))
    for name in sorted(set(there) - used):
        if name in copies and copies[name] in used:
            if not torch.equal(tensors[there[name]], tensors[there[copies[name]]]):
                faults.append((name, f"is no copy of {copies[name]}, though the config ties them"))
        elif name in computed:
            if not _near(tensors[there[name]], computed[name](get)):
                faults.append((name, "has other numbers than the table that is computed here"))
        elif not any(i.match(name) or i.match(prefix + name) for i in ignored):
            faults.append((name, "has no place in the model"))
    if faults:
        raise UserError(where, f"the tensors do not fit {architecture.label}: {listed(grouped(faults))}")

    like, of = {}, {name: step for step in todo for name in step.ours}
    for step in todo:
        held = [n.removeprefix(prefix) for n in step.theirs]
        dtypes = [torch.float32 if n in zeros else DTYPES[tensors.dtype(there[n])] for n in held]
        like.update((n, meta(ours[n], reduce(torch.promote_types, dtypes))) for n in step.ours)
    last: dict[str, Tensor] = {}  # what is left of one step: its tensors are asked for one after another

    def converted(name: str) -> Tensor:
        if name not in last:
            last.clear()
            step = of[name]
            held = [n.removeprefix(prefix) for n in step.theirs]
            theirs = [zeros[n] if n in zeros else tensors[there[n]] for n in held]
            last.update(zip(step.ours, step.layout.split(theirs, [ours[n] for n in step.ours]), strict=True))
        return last.pop(name)

    return OnDemand(like, converted)


def left_behind(architecture: Architecture, tensors: Readable, done: Sequence[Step] = ()) -> list[str]:
    """Weights in the files that none of the steps ``done`` reads, because no output depends on them. Similar ones appear as a pattern and a count."""
    found: list[str] = []
    prefix, used = architecture.prefix, {n for step in done for n in step.theirs}
    there = [n for n in named(architecture, tensors) if n not in used and prefix + n not in used]
    for left in architecture.left:
        one = pattern(left)
        names = sorted(n for n in there if one.match(n) or one.match(prefix + n))
        found += names if len(names) <= SHOWN else [f"{left} ({len(names)} tensors)"]
    return sorted(found)


def named(architecture: Architecture, tensors: Readable) -> dict[str, str]:
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
    return dict(sorted(written(architecture, ours, get)))


def written(architecture: Architecture, ours: Mapping[str, Tensor], get: Get) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of theirs, one after another: what one step makes of ours is in memory, where ``ours`` reads on demand."""
    like: Tensor | None = None
    for step in steps(architecture, {n: t.shape for n, t in outline(ours).items()}, get):
        for name, tensor in zip(step.theirs, step.layout.join([ours[n] for n in step.ours]), strict=True):
            like = tensor.new_empty(0) if like is None else like
            yield name, tensor
    if like is not None:
        yield from ((name, table(get).to(like)) for name, table in architecture.tables(get).items())


def _near(table: Tensor, wanted: Tensor) -> bool:
    """Whether they are the same numbers, as far as half precision keeps them."""
    return table.shape == wanted.shape and torch.allclose(table.float(), wanted, rtol=0, atol=5e-3)


def _bare(architecture: Architecture, there: set[str], todo: Sequence[Step]) -> bool:
    """A bare model's files lack the prefix that its class with a head has (``transformer.``, ``bert.``)."""
    prefixed = [n for step in todo for n in step.theirs if architecture.prefix and n.startswith(architecture.prefix)]
    return bool(prefixed) and not there.intersection(prefixed)


def _shape(shape: Any) -> str:
    return "x".join(map(str, shape)) or "a number"


def _misshapen(found: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    turned = ", which Transposed() would make of it" if len(wanted) == 2 and found == wanted[::-1] != wanted else ""
    return f"is {_shape(found)}, not {_shape(wanted)}{turned}"
