"""Tries the layouts of a number of devices, and ranks those that fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from components.core.config_types import Config
from components.core.errors import UserError
from components.core.makers import part_values
from components.training.estimate.bill import Terms, bound
from components.training.estimate.estimating import Estimate, Subject
from components.training.estimate.layouts import FLOAT8, Layout
from components.training.estimate.step import Step, rows_of


@dataclass(frozen=True)
class Found:
    """What came of it.

    Args:
        ranked: (estimate, tokens a second at most), the fastest first.
        tried: layouts with and without checkpointing.
        too_large: of these, how many do not fit with a single row.
        undivided: {layout: the reason} of those that the model does not divide into.
    """

    ranked: tuple[tuple[Estimate, float], ...]
    tried: int
    too_large: int
    undivided: dict[str, str]


def candidates(ranks: int, precision: str, machine: int) -> Iterator[Layout]:
    """One device; or ddp, fsdp2, hsdp by each group of devices, tp, fsdp2_tp and cp within a machine."""
    if ranks == 1:
        yield Layout("single", precision=precision)
        return
    yield Layout("ddp", ranks, replicas=ranks, precision=precision)
    yield Layout("fsdp2", ranks, shards=ranks, precision=precision)
    divisors = [n for n in range(2, ranks) if ranks % n == 0]
    for n in divisors:
        yield Layout("hsdp", ranks, shards=n, replicas=ranks // n, precision=precision)
    if precision == FLOAT8:  # of whole matrices
        return
    if ranks <= machine:
        yield Layout("tp", ranks, tensor=ranks, precision=precision)
    within = [n for n in divisors if n <= machine]
    for n in within:
        yield Layout("fsdp2_tp", ranks, shards=ranks // n, tensor=n, precision=precision)
    for n in (*within, *([ranks] if ranks <= machine else [])):
        yield Layout("cp", ranks, shards=ranks // n, context=n, precision=precision)


def search(subject: Subject, ranks: int, precision: str, terms: Terms, rows: int | None) -> Found:
    """All candidates, with and without checkpointing, each with its best cut of a step.

    Args:
        subject: the model.
        ranks: all devices.
        precision: of the run.
        terms: the device, and how fast it is.
        rows: of an optimizer step over all devices, which stays as it is; None: each device takes the most rows that fit.

    Raises:
        UserError: none fits.
    """
    ranked, tried, too_large = [], 0, 0
    undivided: dict[str, str] = {}
    for layout in candidates(ranks, precision, terms.machine):
        if rows is not None and rows % layout.readers:
            undivided[layout.named()] = f"task.batch_size={rows} among {layout.readers}"
            continue
        try:
            subject.pieces(layout)
        except UserError as e:
            undivided[layout.named()] = f"{e.where}: {e.what}"
            continue
        for checkpointing in (False, True):
            tried += 1
            most = subject.largest(layout, terms.device, checkpointing=checkpointing)
            step = cut_of(most, None if rows is None else rows // layout.readers, checkpointing=checkpointing)
            if step is None:
                too_large += 1
                continue
            estimate = subject.estimate(layout, step)
            ranked.append((estimate, bound(estimate, terms)))
    if not ranked:
        why = f"none of {tried} layouts of {ranks} devices fits in {terms.device.name}'s memory with a single row"
        raise UserError(
            "plan",
            why,
            "take more devices, a larger accelerator, a shorter model.context_length, or trainer.precision=bf16-true",
        )
    ranked.sort(key=lambda one: (-one[1], one[0].peak.total if one[0].peak else 0))
    return Found(tuple(ranked), tried, too_large, undivided)


def overrides_of(estimate: Estimate, config: Config) -> list[str]:
    """What makes ``config`` train as it was estimated."""
    step, layout = estimate.step, estimate.layout
    found = [
        layout.named(),
        f"trainer.accumulate_grad_batches={step.accumulate}",
        f"task.activation_checkpointing={str(step.checkpointing).lower()}",
    ]
    rows = step.rows * step.accumulate * layout.readers
    if rows == rows_of(config):
        return found
    by_tokens = part_values("task", config["task"]).get("batch_tokens") is not None
    return [*found, f"task.batch_size={rows}", *(["task.batch_tokens=null"] if by_tokens else [])]


def cut_of(most: int, rows: int | None, *, checkpointing: bool) -> Step | None:
    """The largest micro-batch of at most ``most`` rows that divides ``rows``; None where not even one row fits."""
    if most == 0:
        return None
    if rows is None:
        return Step(most, 1, checkpointing)
    each = next(n for n in range(min(most, rows), 0, -1) if rows % n == 0)
    return Step(each, rows // each, checkpointing)
