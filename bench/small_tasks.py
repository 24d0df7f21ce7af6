"""Six attentions and six positions on associative recall, copying and induction: what each mechanism can and cannot do, in minutes on two cores.

``python bench/small_tasks.py`` prints the table, ``--write`` also writes docs/small_tasks.md; ``--only recall --parts gqa linear`` runs some of it.
All models have two layers of width 64, a token shift in the embedding (as Zoology gives every model a short convolution, Arora et al. 2023,
arXiv:2312.04927), the same optimizer, steps and batches; the FFN's width makes up for differences in parameters.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

PAGE = Path(__file__).parent.parent / "docs" / "small_tasks.md"
WIDTH, LAYERS, BATCH, SEEDS, LR, WARM = 64, 2, 16, (0, 1, 2), 3e-3, 50
ATTENTIONS = ("gqa", "linear", "retention", "gla", "delta_net", "gated_delta_net")
POSITIONS = ("rope", "alibi", "t5_bias", "none", "sinusoidal", "learned")
STEPS = {"recall": 600, "copy": 2000, "induction": 300}
VOCAB = 128  # tokens 0..63 and 64..127 are keys and values, or simply letters
PAIRS, COPIED, LONGER, LENGTH = 32, 16, 4, 64
WHAT = {
    "recall": f"{PAIRS} pairs of key and value, then every key again: the share of values recalled (MQAR; Arora et al. 2023, arXiv:2312.04927)",
    "copy": f"{COPIED} letters, then the same again: the share repeated; at {LONGER} times that length after it was trained on 4 to {COPIED} letters",
    "induction": f"{LENGTH} letters in which pairs come again: the second letter, given the first (Olsson et al. 2022, arXiv:2209.11895)",
}


def recall(rows: int, generator: Any, pairs: int = PAIRS) -> tuple[Any, Any]:
    """ids, targets (rows, 4 * pairs): pairs in one order, then in another; asked is the value after each key of the second half."""
    import torch

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


TASKS = {"recall": recall, "copy": copy, "induction": induction}


def model_of(task: str, attention: str, position: str, d_ff: int) -> Any:
    from components import build

    length = {"recall": 4 * PAIRS, "copy": 2 * LONGER * COPIED + 1, "induction": LENGTH}[task]
    node: dict[str, Any] = {"name": attention, "n_heads": 2}
    parts = {
        "position": position,
        "embedding": {"name": "token_shift", "start": 1.0},
        "norm": "rms",
        "ffn": {"name": "glu", "d_ff": d_ff},
        "init": "normal",
    }
    return build(
        "model", "decoder", vocab_size=VOCAB, d_model=WIDTH, n_layers=LAYERS, context_length=length, attention=node, **parts
    )


def equal_width(task: str, attention: str, position: str) -> tuple[int, int]:
    """(d_ff, parameters): the FFN's width with which the model has as many parameters as the one with gqa and d_ff = 192."""
    import torch

    def count(name: str, d_ff: int) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in model_of(task, name, position, d_ff).parameters())

    wanted = count("gqa", 192)
    per_unit = (count(attention, 193) - count(attention, 192)) or 1
    d_ff = max(8, 192 + round((wanted - count(attention, 192)) / per_unit))
    return d_ff, count(attention, d_ff)


def trained(task: str, attention: str, position: str, seed: int, steps: int) -> dict[str, float]:
    """Accuracies after training, and the seconds it took."""
    import torch
    import torch.nn.functional as F

    from components import build
    from components.weights import initialise, roles

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    d_ff, parameters = equal_width(task, attention, position)
    model = model_of(task, attention, position, d_ff)
    initialise(model, model.init, seed)
    optimizer = build("optimizer", "adamw", weights=list(roles(model)), lr=LR)
    generator = torch.Generator().manual_seed(seed)
    start = time.perf_counter()
    for step in range(steps):
        factor = min(1.0, (step + 1) / WARM, (steps - step) / (0.3 * steps))
        for group in optimizer.param_groups:
            group["lr"] = LR * factor
        ids, targets = TASKS[task](BATCH, generator)
        loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    seconds = time.perf_counter() - start
    held_out = torch.Generator().manual_seed(10**6)
    model.eval()
    found = {"parameters": float(parameters), "seconds": seconds}
    asked = {"": {}} if task != "copy" else {"": {"letters": COPIED}, " longer": {"letters": LONGER * COPIED}}
    for name, options in asked.items():
        ids, targets = TASKS[task](128, held_out, **options)
        with torch.no_grad():
            hit = model(ids).argmax(-1) == targets
        found[task + name] = hit[targets != -100].float().mean().item()
    return found


def jobs(only: list[str], parts: list[str]) -> list[tuple[str, str, str]]:
    """(task, attention, position): recall and induction tell attentions apart, copying and induction positions."""
    wanted = [(t, a, "none") for t in ("recall", "induction") for a in ATTENTIONS]
    wanted += [(t, "gqa", p) for t in ("copy", "induction") for p in POSITIONS]
    wanted = list(dict.fromkeys(wanted))
    return [j for j in wanted if (not only or j[0] in only) and (not parts or {j[1], j[2]} & set(parts))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write docs/small_tasks.md")
    parser.add_argument("--only", nargs="*", default=[], choices=list(TASKS))
    parser.add_argument("--parts", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    args = parser.parse_args()
    start = time.perf_counter()
    wanted = [(j, seed) for j in jobs(args.only, args.parts) for seed in SEEDS[: args.seeds]]
    results: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        futures = [(j, pool.submit(trained, *j, seed, STEPS[j[0]])) for j, seed in wanted]
        for job, future in futures:
            results.setdefault(job, []).append(future.result())
            print(*job, {k: round(v, 3) for k, v in results[job][-1].items()}, file=sys.stderr, flush=True)
    text = page(results, time.perf_counter() - start)
    print(text)
    if args.write:
        PAGE.write_text(text, encoding="utf8")


def page(results: dict[tuple[str, str, str], list[dict[str, float]]], seconds: float) -> str:
    seeds = max(len(r) for r in results.values())
    lines = ["# Small tasks that tell parts apart", ""]
    lines += [
        f"`python bench/small_tasks.py --write`: {seconds / 60:.0f} minutes on two cores; means of {seeds} seeds, ± their standard deviation.",
        "",
    ]
    lines += [f"- **{task}**: {what}" for task, what in WHAT.items()]
    said = (
        f"{LAYERS} layers, width {WIDTH}, 2 heads, token shift in the embedding, SwiGLU, RMSNorm, AdamW {LR:g}, batch {BATCH}, "
    )
    lines += ["", said + ", ".join(f"{s} steps of {t}" for t, s in STEPS.items()) + "."]
    columns = ("recall", "induction", "copy", "copy longer")
    for title, name in (
        ("Attentions, without a position", "attention"),
        ("Positions, with softmax attention (gqa)", "position"),
    ):
        rows: dict[tuple[str, str], dict[str, list[float]]] = {}
        for (_, attention, position), found in results.items():
            if position == "none" if name == "attention" else attention == "gqa":
                row = rows.setdefault((attention, position), {})
                for one in found:
                    for name, value in one.items():
                        row.setdefault(name, []).append(value)
        if not rows:
            continue
        lines += [
            "",
            f"## {title}",
            "",
            f"| {name} | parameters | " + " | ".join(columns) + " |",
            "|---" * (len(columns) + 2) + "|",
        ]
        for (attention, position), row in rows.items():
            count = sorted({int(v) for v in row["parameters"]})
            cells = [f"{statistics.mean(row[c]):.3f} ± {statistics.pstdev(row[c]):.3f}" if c in row else "" for c in columns]
            lines.append(
                f"| {attention if name == 'attention' else position} | {'–'.join(f'{n:,}' for n in (count[0], count[-1])[: len(count)])} | "
                + " | ".join(cells)
                + " |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
