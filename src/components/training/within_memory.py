"""Whether a step fits in the memory that this machine has free, asked before the first one: where a CPU's runs out the system ends the process, without a word.

Two looks. A bound from FLOPs takes a millisecond; only where it comes near is the estimate of ``components plan`` made, which takes a second. Devices with a
memory of their own say by themselves that theirs has run out (``out_of_memory.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import nn

from components.core import memory
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.flops import Work, flops_of
from components.core.memory import shown
from components.corpus.blocks import Blocks
from components.runs.task_module import Rows, TaskModule
from components.training.devices import count_devices, processes

if TYPE_CHECKING:
    from components.training.estimate.estimating import Subject
    from components.training.estimate.layouts import Layout
    from components.training.estimate.step import Step

NEAR = 0.5  # of the free memory: what is bounded by less needs no estimate
BEYOND = 1.2  # times the free memory: what is estimated at less may fit
TELLING = 0.8  # likewise: a process holds a tenth more than its tensors, since what a step frees is kept in it
WEIGHT = 16  # bytes: it, its gradient, and two of an optimizer, in fp32
ELEMENT = 12  # bytes: an activation, what is made of it, and its gradient, in fp32
SCORE = 2.0  # FLOPs for a byte of what is no product with weights: a score of heads of 16 channels takes 64, and is there several times


def need_room(module: TaskModule, model: nn.Module, settings: Config, rows: Rows) -> list[str]:
    """Compare what a step holds with what is free, where it is computed on a CPU; a line to print where it is close.

    Args:
        module: the run's.
        model: its, on the meta device.
        settings: the trainer's.
        rows: those that it learns from.

    Raises:
        UserError: a step holds clearly more than is free; says how much, and what takes less.
    """
    there = memory.free()
    # of an example the mean counts, not the longest; a row of a pair, or with a source, is two of the model's
    length = int(rows.tokens_per_row) if isinstance(rows, Blocks) else max(1, int(rows.tokens_per_row / 2))
    context = min(length, cast(int, model.context_length))
    ranks = processes(settings)
    here = min(ranks, count_devices(settings.get("devices")) or 1)
    accumulate = settings.get("accumulate_grad_batches") or 1
    tokens = module.batch_size * context / accumulate * here / ranks
    if bound(model, tokens, context, int(module.config["model"].get("d_model") or 1), here) < NEAR * there:
        return []
    # only now, since it is imported for nothing else
    from components.training.estimate.estimating import Subject
    from components.training.estimate.layouts import layout_of
    from components.training.estimate.step import step_of

    try:
        apart = isinstance(rows, Blocks) and module.documents == "apart"
        subject = Subject(module.config, module.vocab_size, context, apart=apart)
        layout = layout_of(settings, ranks, here)
        step, _ = step_of(module.config, settings, layout)
        most, when = most_of(subject, layout, step)
    except UserError:  # a strategy or an optimizer that is not planned
        return []
    if here * most <= TELLING * there:
        return []
    each = "" if here == 1 else f" on {here} devices of {shown(most)} each"
    takes = f"a step of {step.rows} rows of {context} tokens takes about {shown(here * most)}{each} ({when})"
    what, instead = f"{takes}, and {shown(there)} are free here", less(subject, layout, step, int(TELLING * there / here))
    if here * most > BEYOND * there:
        raise UserError("memory", what, instead)
    return [f"{what}: where they run out, the system ends this process with signal 9; {instead}"]


def bound(model: nn.Module, tokens: float, context: int, width: int, copies: int) -> float:
    """Bytes that a step holds, seldom less than it does.

    A product of ``width`` numbers with weights takes 2 * width FLOPs for each number that it leaves.

    Args:
        model: on the meta device.
        tokens: of a micro-batch on this machine.
        context: of a row.
        width: of the stream between layers.
        copies: of the weights on this machine.
    """
    weights = sum(p.numel() for p in model.parameters())
    executed = flops_of(model, Work(context)).executed / context
    products = min(executed, 2.0 * weights)
    return WEIGHT * weights * copies + tokens * (ELEMENT * products / (2 * width) + (executed - products) / SCORE)


def most_of(subject: Subject, layout: Layout, step: Step) -> tuple[int, str]:
    """(bytes of one rank at once, what takes them); what stays between steps alone, where activations cannot be told."""
    try:
        peak = subject.peak(layout, step)
    except UserError:  # a model or a loss whose shapes depend on values
        return subject.state(layout).total, "weights, gradients and optimizer alone"
    return peak.total, f"{shown(peak.kept)} of them activations"


def less(subject: Subject, layout: Layout, step: Step, there: int) -> str:
    """What takes no more than is there: the same step in more pieces, its layers computed again, or both; else less of it."""
    from dataclasses import replace

    pieces = [n for n in range(1, step.rows + 1) if step.rows % n == 0]
    for again in dict.fromkeys((step.checkpointing, True)):
        for n in pieces:
            if most_of(subject, layout, replace(step, rows=step.rows // n, checkpointing=again))[0] <= there:
                words = [f"trainer.accumulate_grad_batches={step.accumulate * n}"] if n > 1 else []
                words += ["task.activation_checkpointing=true"] if again and not step.checkpointing else []
                return (
                    f"the same step takes less with {' '.join(words)}; or take less of task.batch_size or model.context_length"
                )
    return "take less of model.context_length, model.d_model or model.n_layers (components plan says what takes how much)"
