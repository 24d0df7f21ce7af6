"""Answers ``components plan``: from a composed config and what was asked besides to what is printed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from components.core import registry
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.memory import shown
from components.training.devices import AUTO, count_devices, precision_here
from components.training.estimate.accelerators import accelerator
from components.training.estimate.bill import Terms, bill
from components.training.estimate.estimating import Estimate, Subject
from components.training.estimate.layouts import Layout, layout_of
from components.training.estimate.report import Answer
from components.training.estimate.searching import Found, search
from components.training.estimate.step import rows_of, step_of
from components.training.limits import trainer_settings


@dataclass(frozen=True)
class Asked:
    """The flags of the command, as ``Terms`` has them."""

    accelerator: str | None = None
    tokens: float | None = None
    utilisation: float = 0.4
    price: float | None = None
    machine: int = 8
    network: float = 50.0

    def terms(self) -> Terms | None:
        """UserError: an accelerator of which nothing is known."""
        if self.accelerator is None:
            return None
        return Terms(accelerator(self.accelerator), self.utilisation, self.tokens, self.price, self.machine, self.network)


def subject_of(config: Config, vocab_size: int) -> Subject:
    """The model of a config. A trainer's value that cannot be is refused before it is built.

    Raises:
        UserError: a task whose head writes something else than tokens: a label, an amount.
    """
    trainer_settings(config.get("trainer") or {})
    task = config["task"]["name"]
    if other := registry.entry("task", task).signature.declared.get("needs", {}).get("head"):
        what = f"task/{task} learns {' and '.join(other)}, and plans are of models that write tokens"
        raise UserError("task", what, "components show counts the parameters of any model")
    return Subject(config, vocab_size)


def answer(subject: Subject, recipe: str, note: str, asked: Asked) -> Answer:
    """The plan of the layout that the config says.

    Raises:
        UserError: a layout that the model or the devices do not divide into, an unknown accelerator, and what cannot be planned.
    """
    terms = asked.terms()
    settings = trainer_settings(subject.config.get("trainer") or {})
    if settings.get("precision") == AUTO:
        there = None if terms is None else terms.device.bf16
        chosen = precision_here(AUTO, settings.get("accelerator")) if terms is None else "bf16-mixed" if there else "32-true"
        settings = {**settings, "precision": chosen}
    per_node = count_devices(settings.get("devices")) or 1
    nodes = settings.get("num_nodes")
    layout = layout_of(settings, per_node * (nodes if isinstance(nodes, int) else 1), per_node)
    step, odd = step_of(subject.config, settings, layout)
    estimate = subject.estimate(layout, step)
    batches: dict[bool, int] = {}
    if terms is not None and estimate.peak is not None:
        batches = {c: subject.largest(layout, terms.device, accumulate=step.accumulate, checkpointing=c) for c in (False, True)}
    undivided = [
        *([odd] if odd else []),
        *uneven(subject, layout, estimate),
        *(f"{p}: computed whole on each device, since {why}" for p, why in subject.pieces(layout).whole.items()),
    ]
    return Answer(recipe, subject, note, estimate, batches, None if terms is None else bill(estimate, terms), terms, undivided)


def uneven(subject: Subject, layout: Layout, estimate: Estimate) -> list[str]:
    """Weights whose first axis is no multiple of the shards."""
    if layout.shards == 1:
        return []
    cut = subject.pieces(layout).cut
    whole = replace(layout, strategy="tp" if layout.tensor > 1 else "single", shards=1)
    firsts = [whole.local(tuple(w.parameter.shape), cut.get(id(w.parameter)))[:1] for w in subject.weights]
    odd = [n[0] for n in firsts if n and n[0] % layout.shards]
    if not odd:
        return []
    less = sum(n < layout.shards for n in odd)
    lacking = f", {less} of them shorter than that" if less else ""
    saved = estimate.state.total - estimate.least.total
    return [
        f"the first axis of {len(odd)} weights among {layout.shards} shards{lacking}: the last rank holds {shown(saved)} less than the first, and pads"
    ]


def search_of(answered: Answer, *, fixed: bool) -> Found:
    """The layouts of as many devices in the same precision.

    Args:
        answered: the plan of the config's own.
        fixed: a step keeps its rows; else each device takes the most that fit.
    """
    if answered.terms is None:
        raise UserError("--search", "needs an accelerator", "add --accelerator h100, say")
    layout = answered.estimate.layout
    rows = rows_of(answered.subject.config) if fixed else None
    return search(answered.subject, layout.ranks, layout.precision, answered.terms, rows)
