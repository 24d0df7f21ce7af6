"""A plan as lines of text and as data."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, replace

from components.core.layout import table
from components.core.memory import shown
from components.core.model_tree import short
from components.training.estimate.bill import Bill, Terms, lasting
from components.training.estimate.estimating import Estimate, Subject
from components.training.estimate.layouts import PARALLEL, SHARDED, Layout
from components.training.estimate.searching import Found, overrides_of

Data = dict[str, object]
SHOWN = 12  # layouts of a search that are printed; --json has all
EXACT, ESTIMATE = "exact", "estimate"


@dataclass(frozen=True)
class Answer:
    """What one plan says.

    Args:
        recipe: its name.
        subject: the model.
        vocabulary_note: why the number of ids may be another after training.
        estimate: of the layout that the config says.
        batches: {whether layers are checkpointed: the largest micro-batch that fits}; empty without an accelerator, or where activations cannot be told.
        bill, terms: where an accelerator is named.
        undivided: lines of what does not divide.
    """

    recipe: str
    subject: Subject
    vocabulary_note: str
    estimate: Estimate
    batches: dict[bool, int]
    bill: Bill | None
    terms: Terms | None
    undivided: list[str]


def lines(answer: Answer) -> list[str]:
    e, s = answer.estimate, answer.subject
    rows = [("parameters", shown(e.state.parameters), EXACT), ("gradients", shown(e.state.gradients), EXACT)]
    rows += [("optimizer", shown(e.state.optimizer), EXACT)]
    rows += [("buffers of the model", shown(e.state.buffers), EXACT)] if e.state.buffers else []
    if e.peak is not None:
        rows += [("gathered weights, buckets", shown(e.peak.buffers), ESTIMATE)] if e.peak.buffers else []
        for checkpointing in (False, True):
            kept = s.peak(e.layout, replace(e.step, checkpointing=checkpointing)).kept
            name = "activations, checkpointed" if checkpointing else "activations"
            rows.append((name, shown(kept), ESTIMATE + (", of this run" if checkpointing == e.step.checkpointing else "")))
        rows.append(("the most at once", shown(e.peak.total), f"{ESTIMATE}, in the {said(e.peak.when)}"))
    out = [*head(answer), "", f"one rank holds, {layout_text(e.layout)}:", *table(rows)]
    if e.unknown:
        out.append(f"  activations cannot be told: {e.unknown}")
    out += ["", "one step:", *table(step_rows(answer))]
    if e.collectives:
        out += ["", "each rank sends in a step:"]
        out += table([(c.what, f"over {c.over}", shown(c.bytes)) for c in e.collectives])
    if answer.terms is not None:
        out += [
            "",
            f"on {answer.terms.device.name} ({answer.terms.device.gigabytes:g} GB, {shown(answer.terms.device.usable)} of them usable):",
        ]
        out += table(device_rows(answer))
    if answer.undivided:
        out += ["", "does not divide:", *(f"  {line}" for line in answer.undivided)]
    return out


def said(when: str) -> str:
    return {"forward": "forward pass", "loss": "loss", "backward": "backward pass", "step": "optimizer's step"}[when]


def head(answer: Answer) -> list[str]:
    s = answer.subject
    about = "about " if answer.vocabulary_note else ""
    trained = "" if s.trained == s.parameters else f", {s.trained:,} of them trained"
    note = f" ({answer.vocabulary_note})" if answer.vocabulary_note else ""
    return [
        f"recipe {answer.recipe}: {about}{short(s.parameters)} parameters ({s.parameters:,}{trained})",
        f"vocabulary: {s.vocab_size:,}{note}",
    ]


def layout_text(layout: Layout) -> str:
    groups = [f"{layout.shards} shards"] if layout.strategy in SHARDED else []
    groups += [f"{layout.tensor} that hold a layer together"] if layout.tensor > 1 else []
    groups += [f"{layout.context} that share a row"] if layout.context > 1 else []
    groups += [option.replace("_", " ") for option in PARALLEL if getattr(layout, option)]
    groups += [f"{layout.replicas} copies"] if layout.replicas > 1 else []
    many = "device" if layout.ranks == 1 else "devices"
    return f"{layout.strategy} over {layout.ranks} {many}{f' ({chr(44).join(groups)})'.replace(',', ', ') if groups else ''}, {layout.precision}"


def step_rows(answer: Answer) -> list[tuple[str, str, str]]:
    e, s = answer.estimate, answer.subject
    cut = f"{e.step.rows} x {s.context:,} on each of {e.layout.readers}" + (
        f", {e.step.accumulate} times" if e.step.accumulate > 1 else ""
    )
    return [
        ("tokens", f"{e.tokens:,}", cut),
        (
            "FLOPs per token",
            f"{s.flops_per_token:.4g}",
            f"{EXACT}, forward and backward; {s.executed_per_token:.4g} with what masks hide",
        ),
        ("FLOPs", f"{e.flops:.4g}", EXACT),
        *([("of these in fp8", f"{e.flops8:.4g}", f"{e.flops8 / e.flops:.0%}: linear maps of layers")] if e.flops8 else []),
    ]


def device_rows(answer: Answer) -> list[tuple[str, str, str]]:
    e, terms, b = answer.estimate, answer.terms, answer.bill
    assert terms is not None
    rows = []
    if e.peak is not None:
        over = "" if e.fits(terms.device) else f"{shown(e.peak.total - terms.device.usable)} too much"
        rows.append(("this run", "fits" if not over else "does not fit", over))
    for checkpointing, most in answer.batches.items():
        with_ = "with" if checkpointing else "without"
        rows.append(
            ("largest micro-batch", f"{most} rows" if most else "none", f"{with_} activation checkpointing, {ESTIMATE}")
        )
    if b is None:
        return rows
    rows.append(("tokens a second", f"{b.tokens_per_second:,.0f}", f"at {terms.utilisation:.0%} of the stated peak"))
    if b.days is not None and b.device_hours is not None and terms.tokens is not None:
        rows.append((f"{terms.tokens:.3g} tokens", f"{b.days:.3g} days", f"{b.device_hours:,.0f} device hours"))
    if b.cost is not None:
        rows.append(("cost", f"{b.cost:,.0f}", f"at {terms.price:g} an hour and device"))
    return rows


def search_lines(found: Found, answer: Answer) -> list[str]:
    terms = answer.terms
    assert terms is not None
    rows = []
    for e, rate in found.ranked[:SHOWN]:
        assert e.peak is not None
        again = "yes" if e.step.checkpointing else "no"
        row = (f"{rate:,.0f}", shown(e.peak.total), f"{e.step.rows}", f"{e.step.accumulate}", again)
        lasts = tuple(f"{value:,.3g}" for value in lasting(terms, rate, e.layout.ranks).values())
        rows.append((*row, *lasts, e.layout.named()))
    best = found.ranked[0][0]
    out = [
        *head(answer),
        "",
        f"{best.layout.ranks} x {terms.device.name}, {best.layout.precision}, rows of {answer.subject.context:,} tokens:",
    ]
    heads = lasting(terms, 1.0, 1)  # of what was asked
    out += table(rows, head=("tokens/s", "memory", "rows", "times", "checkpointed", *heads, "layout"))
    more = len(found.ranked) - len(rows)
    out.append("")
    out.append(
        f"{found.tried} tried, {found.too_large} do not fit" + (f", {more} more fit (--json has all)" if more > 0 else "")
    )
    out += [f"does not divide: {layout}: {why}" for layout, why in found.undivided.items()]
    return [*out, "", "overrides of the first:", f"  {shlex.join(overrides_of(best, answer.subject.config))}"]


def data(answer: Answer) -> Data:
    s = answer.subject
    found: Data = {"recipe": answer.recipe, "parameters": s.parameters, "trained": s.trained, "vocabulary": s.vocab_size}
    found |= {"vocabulary_note": answer.vocabulary_note, "context_length": s.context}
    found |= {"flops_per_token": s.flops_per_token, "executed_flops_per_token": s.executed_per_token}
    return found


def plan_data(answer: Answer) -> Data:
    batches = {("checkpointed" if c else "plain"): rows for c, rows in answer.batches.items()}
    found = (
        data(answer) | estimate_data(answer.estimate) | {"largest_micro_batch": batches, "does_not_divide": answer.undivided}
    )
    e, terms = answer.estimate, answer.terms
    if e.peak is not None:
        ways = {"plain": False, "checkpointed": True}
        found["estimated_activations"] = {
            name: answer.subject.peak(e.layout, replace(e.step, checkpointing=again)).kept for name, again in ways.items()
        }
    if terms is not None:
        found["accelerator"] = {**asdict(terms.device), "usable_bytes": terms.device.usable}
        found["fits"] = e.fits(terms.device)
        found |= {"utilisation": terms.utilisation, "tokens_of_the_run": terms.tokens, "price_per_hour": terms.price}
    return found | ({"bill": asdict(answer.bill)} if answer.bill is not None else {})


def search_data(found: Found, answer: Answer) -> Data:
    ranked = [
        estimate_data(e)
        | {"tokens_per_second_at_most": rate, "overrides": overrides_of(e, answer.subject.config)}
        | {f"{name}_at_least": value for name, value in lasting(answer.terms, rate, e.layout.ranks).items()}
        for e, rate in found.ranked
    ]
    return data(answer) | {
        "layouts": ranked,
        "tried": found.tried,
        "too_large": found.too_large,
        "does_not_divide": found.undivided,
    }


def estimate_data(e: Estimate) -> Data:
    found: Data = {
        "strategy": e.layout.strategy,
        "ranks": e.layout.ranks,
        "shards": e.layout.shards,
        "tensor": e.layout.tensor,
        "context": e.layout.context,
        "expert_parallel": e.layout.expert_parallel,
        "sequence_parallel": e.layout.sequence_parallel,
        "replicas": e.layout.replicas,
        "precision": e.layout.precision,
        **asdict(e.step),
        "exact_bytes_of_rank_0": asdict(e.state),
        "exact_bytes_of_the_last_rank": asdict(e.least),
        "estimated_bytes": None if e.peak is None else asdict(e.peak),
        "sent_in_a_step": [asdict(c) for c in e.collectives],
        "tokens": e.tokens,
        "flops": e.flops,
        "flops_in_fp8": e.flops8,
    }
    return found | ({"activations_unknown": e.unknown} if e.unknown else {})
