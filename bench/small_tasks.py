"""Six attentions and six positions on associative recall, copying and induction: what each mechanism can and cannot do, in minutes on two cores.

``python bench/small_tasks.py`` trains and prints the page, ``--write`` also writes docs/small_tasks.json (every run) and docs/small_tasks.md (made from it);
``--render`` makes the page again without training; ``--only recall --parts gqa linear`` runs some of it, into no file. A run that was interrupted
goes on with ``--write --keep``, which makes what is missing (with ``--parts`` of those alone) and what was made with other options; ``--causes`` makes the
runs that say why retention and gla hardly learn in their papers' form.

Nothing depends on the clock: each run has one thread, its own seed and a fixed number of steps.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

DOCS = Path(__file__).parent.parent / "docs"
RUNS, PAGE = DOCS / "small_tasks.json", DOCS / "small_tasks.md"
ATTENTIONS = ("gqa", "linear", "retention", "gla", "delta_net", "gated_delta_net")
POSITIONS = ("none", "rope", "alibi", "t5_bias", "sinusoidal", "learned")
# what the runs were made with stands beside their results, so that a test sees when it is no longer what stands here
SETTINGS: dict[str, Any] = {
    "width": 64,
    "layers": 2,
    "heads": 2,
    "d_ff": 128,  # of gqa; the others' makes up for differences in parameters
    "init": {"name": "kaiming", "gain": 1.0, "embedding_std": 0.02},
    # no output gate, which Arora et al.'s code takes from both delta nets; features that are not negative, as linear's are (see CAUSES)
    "options": {
        "retention": {"feature_map": "elu1", "output_gate": "none"},
        "gla": {"feature_map": "elu1", "output_gate": "none"},
        "gated_delta_net": {"output_gate": "none"},
    },
    "batch": 16,
    "rates": [1e-3, 3e-3, 1e-2],
    "seeds": [0, 1, 2],  # the rates are tried on the first
    "warm": 0.1,  # share of the steps
    "steps": {"recall": 1200, "induction": 600, "copy": 1000},
    "stop": {"recall": 0.99, "induction": 0.99},  # accuracy on validation at which a run ends, looked at every 100 steps
}
EVERY, VALIDATION, TEST = 100, 64, 256  # steps between looks; rows
VOCAB = 128  # tokens 0..63 and 64..127 are keys and values, or simply letters
PAIRS, TRAINED_PAIRS, COPIED, LONGER, LENGTH = 32, (4, 8, 16, 32), 16, 4, 64
COLUMNS = ("recall 8", "recall 16", "recall", "induction", "copy", "copy longer")
WHAT = {
    "recall": f"{PAIRS} pairs of key and value, then the same pairs in another order: the share of values recalled (MQAR, Arora et al. 2023, "
    f"arXiv:2312.04927). Each training batch has 4, 8, 16 or 32 pairs, as in Arora et al. 2024, arXiv:2402.18668; validation has {PAIRS}, the test {PAIRS} "
    "and, in the columns recall 8 and recall 16, as many as they say.",
    "induction": f"{LENGTH} letters in which eight pairs come again among noise: the second letter, given the first (Olsson et al. 2022, arXiv:2209.11895).",
    "copy": f"letters, a sign, then the same letters: the share repeated. Trained on 4 to {COPIED} letters, tested on {COPIED} (copy) and on "
    f"{LONGER * COPIED} (copy longer), as in Kazemnejad et al. 2023, arXiv:2305.19466.",
}
Job = tuple[str, str, str]  # task, attention, position
NAMED: set[Job] = {("recall", a, "none") for a in ("gqa", "delta_net", "linear")} | {
    ("copy", "gqa", p) for p in ("none", "alibi", "learned")
}
NOT_RUN = "not run"
LEARNED = 0.9  # of copy: below it the share that is left at a greater length says nothing
# softmax and delta_net: Arora et al. 2023; Yang et al. 2024, arXiv:2406.06484, figure 2; gla above retention: Yang et al. 2023, arXiv:2312.06635
ORDER = ("gqa", "delta_net", "gla", "retention")
# why a mixer stands at chance on induction: one thing is changed at a time, with the rate that is best for linear attention
CAUSE_RATE = 1e-2
# linear attention as retention and gla have it, but without a decay and a gate
PLAIN = {"normalise": False, "output_norm": "rms"}
ELU1, OPEN = {"feature_map": "elu1"}, {"output_gate": "none"}
CAUSES: list[tuple[str, str, dict[str, Any]]] = [
    ("linear", "its own form: features elu(x) + 1, divided by their sum", {}),
    ("linear", "a norm of each head instead of the sum", {"feature_map": "elu1", **PLAIN}),
    ("linear", "the same without features", {"feature_map": "identity", **PLAIN}),
    ("gla", "the paper's form", {}),
    ("gla", "no output gate", OPEN),
    ("gla", "no forgetting to speak of: half of it after 10,000 tokens", {"gate_logit_normalizer": 1e4}),
    ("gla", "neither gate nor forgetting", {"gate_logit_normalizer": 1e4, **OPEN}),
    ("gla", "a short convolution with silu", {"conv_size": 4}),
    ("gla", "a short convolution with silu, no output gate", {"conv_size": 4, **OPEN}),
    ("gla", "features elu(x) + 1", ELU1),
    ("gla", "features elu(x) + 1, no output gate", {**ELU1, **OPEN}),
    ("retention", "the paper's form", {}),
    ("retention", "no forgetting to speak of", {"decay_exponent": 20.0}),
    ("retention", "features elu(x) + 1", ELU1),
    ("retention", "features elu(x) + 1, no output gate", {**ELU1, **OPEN}),
]


def recall(rows: int, generator: Any, pairs: int | None = None) -> tuple[Any, Any]:
    """ids, targets (rows, 4 * pairs): pairs in one order, then in another; asked is the value after each key of the second half.

    Without ``pairs`` as many as chance says of TRAINED_PAIRS, the same in all rows.
    """
    import torch

    if pairs is None:
        pairs = TRAINED_PAIRS[int(torch.randint(len(TRAINED_PAIRS), (1,), generator=generator))]
    keys = torch.rand(rows, 64, generator=generator).argsort(1)[:, :pairs]
    values = torch.randint(64, 128, (rows, pairs), generator=generator)
    order = torch.rand(rows, pairs, generator=generator).argsort(1)
    halves = [torch.stack(p, -1).flatten(1) for p in ((keys, values), (keys.gather(1, order), values.gather(1, order)))]
    ids = torch.cat(halves, 1)
    targets = torch.full_like(ids, -100)
    asked = torch.arange(2 * pairs, 4 * pairs, 2)
    targets[:, asked] = ids[:, asked + 1]
    return ids, targets


def copy(rows: int, generator: Any, letters: int | None = None) -> tuple[Any, Any]:
    """Letters, a sign (0), the letters again. Without ``letters`` as many as chance says, 4 to COPIED, the same in all rows."""
    import torch

    n = int(torch.randint(4, COPIED + 1, (1,), generator=generator)) if letters is None else letters
    text = torch.randint(1, VOCAB, (rows, n), generator=generator)
    ids = torch.cat((text, torch.zeros(rows, 1, dtype=torch.long), text), 1)
    targets = torch.full_like(ids, -100)
    targets[:, n : 2 * n] = ids[:, n + 1 :]
    return ids, targets


def induction(rows: int, generator: Any, pairs: int = 8) -> tuple[Any, Any]:
    """Noise in which each of ``pairs`` pairs of letters stands twice; asked is the second letter at the second time."""
    import torch

    ids = torch.randint(64, VOCAB, (rows, LENGTH), generator=generator)
    targets = torch.full_like(ids, -100)
    places = (
        torch.stack([torch.randperm(LENGTH // 2, generator=generator)[: 2 * pairs] * 2 for _ in range(rows)])
        .view(rows, pairs, 2)
        .sort(-1)
        .values
    )
    first = torch.rand(rows, 64, generator=generator).argsort(1)[:, :pairs]  # letters that the noise does not have
    second = torch.randint(64, VOCAB, (rows, pairs), generator=generator)
    for time_ in range(2):
        ids.scatter_(1, places[:, :, time_], first)
        ids.scatter_(1, places[:, :, time_] + 1, second)
    targets.scatter_(1, places[:, :, 1], second)
    return ids, targets


TASKS = {"recall": recall, "induction": induction, "copy": copy}
# what validation and each column of the table ask
ASKED = {
    "recall": {**{f"recall {n}": {"pairs": n} for n in (8, 16)}, "recall": {"pairs": PAIRS}},
    "induction": {"induction": {}},
}
ASKED["copy"] = {"copy": {"letters": COPIED}, "copy longer": {"letters": LONGER * COPIED}}


def model_of(task: str, attention: str, position: str, d_ff: int, options: dict[str, Any] | None = None) -> Any:
    """The model of a job; ``options`` of its attention stand in place of those in SETTINGS."""
    from components import build

    length = {"recall": 4 * PAIRS, "copy": 2 * LONGER * COPIED + 1, "induction": LENGTH}[task]
    options = SETTINGS["options"].get(attention, {}) if options is None else options
    parts = {
        "attention": {"name": attention, "n_heads": SETTINGS["heads"], **options},
        "position": position,
        "embedding": {"name": "token_shift", "start": 1.0},
        "norm": "rms",
        "ffn": {"name": "glu", "d_ff": d_ff},
        "init": SETTINGS["init"],
    }
    sizes = {"vocab_size": VOCAB, "d_model": SETTINGS["width"], "n_layers": SETTINGS["layers"], "context_length": length}
    return build("model", "decoder", **sizes, **parts)


def equal_width(task: str, attention: str, position: str, options: dict[str, Any] | None = None) -> tuple[int, int]:
    """(d_ff, parameters): the FFN's width with which the model has as many parameters as that with gqa and no position."""
    import torch

    def count(attention: str, position: str, d_ff: int, options: dict[str, Any] | None = None) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in model_of(task, attention, position, d_ff, options).parameters())

    base = SETTINGS["d_ff"]
    wanted, here = count("gqa", "none", base), count(attention, position, base, options)
    per_unit = count(attention, position, base + 1, options) - here
    d_ff = max(8, base + round((wanted - here) / per_unit))
    return d_ff, count(attention, position, d_ff, options)


def factor_of(step: int, steps: int) -> float:
    """Of the learning rate: a linear rise, then a cosine to 0."""
    warm = max(1, int(SETTINGS["warm"] * steps))
    return (step + 1) / warm if step < warm else 0.5 + 0.5 * math.cos(math.pi * (step - warm) / (steps - warm))


def asked(model: Any, task: str, column: str, rows: int, seed: int) -> tuple[float, float]:
    """Accuracy and loss on ``rows`` new rows."""
    import torch
    import torch.nn.functional as F

    ids, targets = TASKS[task](rows, torch.Generator().manual_seed(seed), **ASKED[task][column])
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(part) for part in ids.split(64)])
    model.train()
    hit = logits.argmax(-1) == targets
    return hit[targets != -100].float().mean().item(), F.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()


def trained(
    task: str,
    attention: str,
    position: str,
    rate: float,
    seed: int,
    steps: int | None = None,
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One run: what it was, and its accuracies."""
    import torch
    import torch.nn.functional as F

    from components import build
    from components.core.weights import initialise, roles

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    total = SETTINGS["steps"][task] if steps is None else steps
    d_ff, parameters = equal_width(task, attention, position, options)
    model = model_of(task, attention, position, d_ff, options)
    initialise(model, model.init, seed)
    optimizer = build("optimizer", "adamw", weights=list(roles(model)), lr=rate)
    generator, began, step = torch.Generator().manual_seed(seed), time.process_time(), 0
    for step in range(1, total + 1):
        for group in optimizer.param_groups:
            group["lr"] = rate * factor_of(step - 1, total)
        ids, targets = TASKS[task](SETTINGS["batch"], generator)
        loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        look = task in SETTINGS["stop"] and step % EVERY == 0 and step < total
        if look and asked(model, task, task, VALIDATION, 10**6)[0] >= SETTINGS["stop"][task]:
            break
    validation, loss_there = asked(model, task, task, VALIDATION, 10**6)
    return {
        **{"task": task, "attention": attention, "position": position, "rate": rate, "seed": seed},
        **{"d_ff": d_ff, "parameters": parameters, "steps": step, "seconds": round(time.process_time() - began, 1)},
        **{"validation": round(validation, 4), "validation loss": round(loss_there, 4)},
        "test": {column: round(asked(model, task, column, TEST, 10**6 + 1)[0], 4) for column in ASKED[task]},
    }


def cause(what: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    """One run of CAUSES."""
    attention, _, options = what
    run = trained("induction", attention, "none", CAUSE_RATE, SETTINGS["seeds"][0], options=options)
    print(json.dumps({**run, "options": options}), file=sys.stderr, flush=True)
    return {**run, "options": options}


def run_key(run: dict[str, Any]) -> tuple[str, str, str, float, int]:
    return run["task"], run["attention"], run["position"], run["rate"], run["seed"]


def jobs(only: list[str], parts: list[str]) -> list[Job]:
    """Attentions without a position, positions with softmax attention; gqa without a position is both."""
    pairs = list(dict.fromkeys([(a, "none") for a in ATTENTIONS] + [("gqa", p) for p in POSITIONS]))
    wanted = [(t, a, p) for t in TASKS for a, p in pairs]
    return [j for j in wanted if (not only or j[0] in only) and (not parts or names(j) & set(parts))]


def named(job: Job) -> bool:
    """Whether the literature has a figure for it: such jobs are run first."""
    return job in NAMED


def names(job: Job) -> set[str]:
    """What a job is called by: its attention where it has no position, its position where it has softmax attention."""
    _, attention, position = job
    return ({attention} if position == "none" else set()) | ({position} if attention == "gqa" else set())


def best_rate(runs: list[dict[str, Any]]) -> float:
    """Of one job's runs with the first seed: that of the highest accuracy on validation, then of the lowest loss."""
    tried = [r for r in runs if r["seed"] == SETTINGS["seeds"][0]]
    return max(tried, key=lambda r: (r["validation"], -r["validation loss"]))["rate"] if tried else math.nan


def of_job(runs: list[dict[str, Any]], job: Job) -> list[dict[str, Any]]:
    return [r for r in runs if (r["task"], r["attention"], r["position"]) == job]


def chosen(runs: list[dict[str, Any]], job: Job) -> list[dict[str, Any]]:
    """The runs that the table shows: every seed with the best rate."""
    mine = of_job(runs, job)
    return sorted((r for r in mine if r["rate"] == best_rate(mine)), key=lambda r: r["seed"])


def table(runs: list[dict[str, Any]], title: str, rows: list[tuple[str, str, str]]) -> list[str]:
    """Title, head and one line for each (name, attention, position)."""
    lines = ["", f"## {title}", "", "| part | parameters | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, attention, position in rows:
        cells, counts = [], set()
        for task, columns in ASKED.items():
            found = chosen(runs, (task, attention, position))
            counts |= {r["parameters"] for r in found}
            for column in columns:
                values = [r["test"][column] for r in found if column in r["test"]]
                rate = f" ({found[0]['rate']:g})" if found and column == task else ""
                spread = f" ± {statistics.pstdev(values):.3f}" if len(values) == len(SETTINGS["seeds"]) else ", one seed"
                cells.append(f"{statistics.mean(values):.3f}{spread}{rate}" if values else NOT_RUN)
        if not counts:
            lines.append(f"| {name} | " + " | ".join([NOT_RUN] * (len(COLUMNS) + 1)) + " |")
            continue
        sizes = "–".join(f"{n:,}" for n in sorted({min(counts), max(counts)}))
        lines.append(f"| {name} | {sizes} | " + " | ".join(cells) + " |")
    return lines


def against(runs: list[dict[str, Any]]) -> list[str]:
    """What is expected, what came out, and whether that is it."""

    def mean(task: str, attention: str, position: str, column: str) -> float:
        found = chosen(runs, (task, attention, position))
        return statistics.mean(r["test"].get(column, math.nan) for r in found) if found else math.nan

    def longer(short: float, long: float) -> str:
        return (
            said(long >= short / 2, short, long)
            if math.isnan(short) or short >= LEARNED
            else f"cannot be told: copy is below {LEARNED}"
        )

    def said(holds: bool, *figures: float) -> str:
        return NOT_RUN if any(map(math.isnan, figures)) else "yes" if holds else "no"

    lines = ["", "## Against the literature", "", "| figure | expected | came out | reached |", "|---|---|---|---|"]
    for attention, sign, bound in (("gqa", "≥", 0.95), ("delta_net", "≥", 0.80), ("linear", "≤", 0.60)):
        value = mean("recall", attention, "none", "recall")
        reached = value >= bound if sign == "≥" else value <= bound
        name = "softmax (gqa)" if attention == "gqa" else attention
        lines.append(f"| recall, {PAIRS} pairs: {name} | {sign} {bound:.2f} | {value:.3f} | {said(reached, value)} |")
    for position in ("alibi", "none"):
        long, short = (mean("copy", "gqa", position, c) for c in ("copy longer", "copy"))
        lines.append(
            f"| copy at {LONGER} times the length, over copy: {position} | ≥ 0.50 | {long:.3f} / {short:.3f} = {long / short:.2f} "
            f"| {longer(short, long)} |"
        )
    long, short = (mean("copy", "gqa", "learned", c) for c in ("copy longer", "copy"))
    reached = said(long <= 0.1, long) if math.isnan(short) or short >= LEARNED else longer(short, long)
    lines.append(f"| copy at {LONGER} times the length: learned | ≤ 0.10 | {long:.3f} | {reached} |")
    values = {a: mean("recall", a, "none", "recall 8") for a in ORDER}
    holds = list(values.values()) == sorted(values.values(), reverse=True)
    came = ", ".join(NOT_RUN if math.isnan(v) else f"{v:.3f}" for v in values.values())
    lines.append(f"| recall, 8 pairs: the order | {' ≥ '.join(ORDER)} | {came} | {said(holds, *values.values())} |")
    return lines


def causes(runs: list[dict[str, Any]]) -> list[str]:
    """What was changed, one thing at a time, and what came out."""
    lines = [
        "",
        "## Why retention and gla stood at chance",
        "",
        *WHY,
        "",
        "| part | what it has | induction |",
        "|---|---|---|",
    ]
    found = {(r["attention"], json.dumps(r["options"], sort_keys=True)): r["validation"] for r in runs}
    for attention, what, options in CAUSES:
        value = found.get((attention, json.dumps(options, sort_keys=True)))
        lines.append(f"| {attention} | {what} | {NOT_RUN if value is None else f'{value:.3f}'} |")
    return lines


def page(stored: dict[str, Any]) -> str:
    """docs/small_tasks.md, from what docs/small_tasks.json holds and nothing else."""
    runs, s = stored["runs"], stored["settings"]
    minutes = sum(r["seconds"] for r in runs) / 60
    rates = ", ".join(f"{r:g}" for r in s["rates"])
    stops = " and ".join(f"{t} at {v:g}" for t, v in s["stop"].items())
    lines = [
        "# Small tasks that tell parts apart",
        "",
        f"`python bench/small_tasks.py --write` made this page and [small_tasks.json](small_tasks.json), which has every run: {len(runs)} runs, "
        f"{minutes:.0f} minutes of processor time in all, torch {stored['torch']}; two processes, one thread each.",
        "",
        *incomplete(runs),
        *(f"- **{task}**: {what}" for task, what in WHAT.items()),
        "",
        "## How it was measured",
        "",
        f"Two layers of width {s['width']} with {s['heads']} heads, token shift in the embedding (every model has it, as Arora et al. 2023 give every model a short "
        "convolution), RMSNorm, SwiGLU, matrices of variance 1 / fan-in and an embedding of 0.02 (init kaiming, gain 1). The FFN (d_ff "
        f"{s['d_ff']} with gqa) is made narrower or wider until all models have equally many parameters. Attentions have no position, positions have softmax "
        "attention; all other options are the parts' own defaults, but no attention has an output gate, and the features of retention and gla are those of "
        "linear attention (the reason stands below). "
        f"Vocabulary {VOCAB}, batches of {s['batch']} new rows, AdamW (weight decay 0.1, gradients clipped to norm 1), a linear rise over {s['warm']:.0%} of the "
        "steps, then a cosine to 0; " + ", ".join(f"{n} steps of {t}" for t, n in s["steps"].items()) + ".",
        "",
        f"Every part has the same chances: each of the learning rates {rates} on seed {s['seeds'][0]}; the rate with the highest accuracy on {VALIDATION} "
        f"validation rows (for copying of the trained length) is run with seeds {' and '.join(map(str, s['seeds'][1:]))} as well. The tables have the mean over "
        f"the seeds ± their standard deviation on {TEST} other rows, and in brackets the rate. A run ends early once validation reaches its goal ({stops}; "
        "Arora et al. stop at 0.99 too); copying never does.",
    ]
    lines += table(
        runs, "Attentions, without a position", [("softmax (gqa)" if a == "gqa" else a, a, "none") for a in ATTENTIONS]
    )
    lines += table(runs, "Positions, with softmax attention (gqa)", [(p, "gqa", p) for p in POSITIONS])
    lines += [*against(runs), *causes(stored["causes"]), "", "## What to know about it", "", *NOTES]
    lines += [
        "",
        "## Every rate that was tried",
        "",
        f"Accuracy on validation after the steps in brackets, seed {s['seeds'][0]}; the highest was taken.",
        "",
    ]
    lines += [
        "| task | attention | position | " + " | ".join(f"{r:g}" for r in s["rates"]) + " |",
        "|---" * (3 + len(s["rates"])) + "|",
    ]
    for job in jobs([], []):
        tried = {r["rate"]: r for r in of_job(runs, job) if r["seed"] == s["seeds"][0]}
        cells = [f"{tried[r]['validation']:.3f} ({tried[r]['steps']})" if r in tried else NOT_RUN for r in s["rates"]]
        lines.append(f"| {' | '.join(job)} | {' | '.join(cells)} |")
    lines += ["", "## What was tried before", "", *EARLIER, *earlier(stored["earlier"])]
    return "\n".join(lines) + "\n"


def incomplete(runs: list[dict[str, Any]]) -> list[str]:
    """What is missing, where something is: a run of all parts takes longer than the figures that the literature names."""
    whole = len(jobs([], [])) * (len(SETTINGS["rates"]) + len(SETTINGS["seeds"]) - 1)
    if len(runs) >= whole:
        return []
    return [
        f"**{len(runs)} of {whole} runs were made**; where one is missing the tables say so, and `--write --keep` makes the rest.",
        "",
    ]


WHY = [
    "In their papers' form both stayed at chance (0.03, at each of the three rates) where linear attention reached 0.93. It is not the parts: both give the "
    "outputs and the gradients of their papers' formulas over 256 positions (tests/attention/test_published_mixers.py). It is not the memory: with the "
    "constants of flash-linear-attention half of gla's state is forgotten after 16 tokens (in a tenth of the channels after 7, in another tenth after 43), of "
    "retention's two heads after 22 and 44, and a pair comes again after 22 tokens here, after 64 in recall with 32 pairs; but taking the forgetting away does "
    "not help. It is the sign of the scores, and the gate. Softmax and elu(x) + 1 give positive scores. Products of bare queries and keys have both signs, and "
    "with them linear attention hardly learns either. With features both learn, and better without the silu gate. The likely reason: positive scores first give "
    "the mean of the values, from which a model can learn what stood in the row, and then where to look; with both signs query, key and value must become right "
    "together, and the gate turns signs once more. Arora et al. train on some hundred times as many rows, where that may cost less. The tables above have both "
    f"parts with features and without the gate; the papers' forms are in the last table. One run each, seed 0, after {SETTINGS['steps']['induction']} steps at the"
    f" rate {CAUSE_RATE:g}:",
]
NOTES = [
    "The expected figures stood before anything was run. Smaller than in the papers are the vocabulary (8192 in Arora et al., which makes recall harder) and the "
    "number of steps (tens of thousands there); pairs follow one another without filler, and every model has its FFN.",
    "",
    "Copying is not learned by softmax attention in these steps, so that what is left of it at a greater length says nothing yet.",
    "",
    "Any of the values that stand in the row is right once in 8, 16 or 32 times: 0.125, 0.063 and 0.031. A part at such a share tells values from keys and does "
    "not recall; between two of them the order says nothing.",
]
EARLIER = [
    "The settings are not the first ones. The first version had one learning rate (3e-3) for all parts, 32 pairs in every batch of recall, and 700, 500, 500, "
    "then 600, 300, 2000 steps of recall, induction and copying; five settings were tried on softmax attention and chosen by its result, among them the first "
    "value of the token shift's factor (0, the part's default, then 1, which was kept: at 0 each model begins without the token shift that it is meant to have). "
    "No run of all parts was finished with them.",
    "",
    "Then the protocol above was written: one grid of rates for all, the training mixture of Arora et al. 2024, goals at which runs end. Only its init was changed "
    "afterwards, twice, for all parts alike, and the steps were cut to what the time allowed (from 1500, 1000, 2000). Matrices of 0.02 as in Arora et al.'s code "
    "left every model with an output gate near chance, presumably since gate and branch both begin near 0 at width 64. Variance 1 / fan-in with an embedding of "
    "variance 1 helped gated_delta_net at 3e-3, but delta_net no longer learned at 1e-3, presumably since so large an embedding hardly moves in a thousand steps. "
    "The third, 1 / fan-in with an embedding of 0.02, is that of the tables. Before it was taken it was run on softmax attention and delta_net with the rate 3e-3: "
    "the init was chosen by the recall of these three parts, the other parts and columns had no say. With it gated_delta_net stayed at chance because of its "
    "output gate (silu): without it 500 steps at 3e-3 reached 0.177, and delta_net with such a gate 0.017 against 0.060 without. Arora et al.'s code runs both "
    "delta nets without it, which had been overlooked, so it was taken out; retention and gla kept theirs. The tables were made with that, and had "
    "both at chance: then the reason was looked for on induction (above), and both got their features and lost their gates. The rows below are all runs of those "
    "attempts: accuracy on validation, seed 0, with the steps in brackets.",
]


def earlier(runs: list[dict[str, Any]]) -> list[str]:
    """The table of runs with settings that were given up."""
    rates = sorted({r["rate"] for r in runs})
    lines = [
        "",
        "| what | task | attention | position | " + " | ".join(f"{r:g}" for r in rates) + " |",
        "|---" * (4 + len(rates)) + "|",
    ]
    fields = ("init", "task", "attention", "position")
    for kind in dict.fromkeys(tuple(r[f] for f in fields) for r in runs):
        mine = {r["rate"]: r for r in runs if tuple(r[f] for f in fields) == kind}
        cells = [f"{mine[r]['validation']:.3f} ({mine[r]['steps']})" if r in mine else "" for r in rates]
        lines.append(f"| {' | '.join((*kind, *cells))} |")
    return lines


def load() -> dict[str, Any]:
    return json.loads(RUNS.read_text(encoding="utf8"))


def kept(stored: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The stored runs that today's settings would make again: not those of attentions with other options. None where other settings differ."""
    old, new = stored["settings"], json.loads(json.dumps(SETTINGS))
    if {**old, "options": None} != {**new, "options": None}:
        return None
    return [r for r in stored["runs"] if old["options"].get(r["attention"]) == new["options"].get(r["attention"])]


def save(runs: list[dict[str, Any]], because: list[dict[str, Any]]) -> None:
    """One line a run, always in the same order."""
    import torch

    order = {job: n for n, job in enumerate(jobs([], []))}
    runs = sorted(runs, key=lambda r: (order[r["task"], r["attention"], r["position"]], r["seed"], r["rate"]))
    head = json.dumps({"torch": torch.__version__.split("+")[0], "settings": SETTINGS})[1:-1]
    lists = {"runs": runs, "causes": because, "earlier": load()["earlier"]}
    rows = ", ".join(f'"{name}": [\n' + ",\n".join(json.dumps(r) for r in some) + "\n]" for name, some in lists.items())
    RUNS.write_text("{" + head + ", " + rows + "}\n", encoding="utf8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write docs/small_tasks.json and docs/small_tasks.md")
    parser.add_argument("--keep", action="store_true", help="with --write: keep the runs that are in the file already")
    parser.add_argument("--causes", action="store_true", help="with --write --keep: make the runs of CAUSES, and no others")
    parser.add_argument(
        "--render", action="store_true", help="make docs/small_tasks.md from docs/small_tasks.json, without training"
    )
    parser.add_argument("--only", nargs="*", default=[], choices=list(TASKS))
    parser.add_argument("--parts", nargs="*", default=[])
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    args = parser.parse_args()
    if args.render:
        PAGE.write_text(page(load()), encoding="utf8")
        return
    if args.write and (args.only or args.parts) and not args.keep:
        parser.error("--write needs all tasks and parts, or --keep")
    stored = load()
    runs = kept(stored) if args.keep else []
    if runs is None or (args.keep and not args.write):
        parser.error("--keep goes with --write, and with the settings that the file was made with")
    because: list[dict[str, Any]] = stored["causes"]
    wanted, seeds = [] if args.causes else jobs(args.only, args.parts), SETTINGS["seeds"]
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        if args.causes:
            because = [r for r in pool.map(cause, CAUSES)]
        for first, stage in product((True, False), ("rates", "seeds")):
            mine = [j for j in wanted if named(j) == first]
            if stage == "rates":
                todo = [(*j, rate, seeds[0]) for j in mine for rate in SETTINGS["rates"]]
            else:
                todo = [(*j, best_rate(of_job(runs, j)), seed) for j in mine for seed in seeds[1:]]
            there = {run_key(r) for r in runs if set(r["test"]) == set(ASKED[r["task"]])}
            for future in as_completed([pool.submit(trained, *t) for t in todo if t not in there]):
                made = future.result()
                runs = [*(r for r in runs if run_key(r) != run_key(made)), made]
                print(json.dumps(made), file=sys.stderr, flush=True)
                if args.write:
                    save(runs, because)
    if (args.only or args.parts) and not args.write:
        return  # the page is of all
    if args.write:
        save(runs, because)
        PAGE.write_text(page(load()), encoding="utf8")
    print(page(load()) if args.write else page({**stored, "settings": SETTINGS, "runs": runs, "causes": because}))


if __name__ == "__main__":
    main()
