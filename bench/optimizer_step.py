"""What an optimizer's step costs beside the training step that it ends: Muon and fused AdamW on shape (a), GPT-2 with 6 layers of 384, 16 rows of 256 tokens.

``python bench/optimizer_step.py [--rounds 9] [--threads 1] [--write]``. Forward and backward passes, AdamW and Muon take turns in one
process; medians and spreads of the round-by-round shares, in CPU seconds, which other processes on the machine disturb least. ``--write`` puts them into
docs/performance.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import section
import torch
import torch.nn.functional as F

from components import build
from components.core.makers import make
from components.core.sockets import Batch
from components.core.weights import roles
from components.functional.orthogonal import products

HEAD = "## The step of an optimizer"
LAYERS, HEADS, WIDTH, LENGTH, ROWS, VOCAB = 6, 6, 384, 256, 16, 65
OPTIONS = {
    **{
        "name": "decoder",
        "d_model": WIDTH,
        "n_layers": LAYERS,
        "context_length": LENGTH,
        "position": "learned",
        "norm": "layer",
    },
    **{"attention": {"name": "mha", "n_heads": HEADS}, "ffn": {"name": "mlp", "d_ff": 4 * WIDTH}},
}


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def measure(precision: str, rounds: int) -> str:
    """A line of the table."""
    torch.manual_seed(0)
    model = make(OPTIONS, "model", vocab_size=VOCAB)
    x, y = (torch.randint(0, VOCAB, (ROWS, LENGTH)) for _ in range(2))

    def passes() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(Batch(x))
        F.cross_entropy(logits.float().flatten(0, 1), y.flatten()).backward()

    steps = {name: build("optimizer", name, weights=list(roles(model)), lr=1e-4) for name in ("adamw", "muon")}
    held: list[dict[str, float]] = []
    for _ in range(rounds + 1):
        held.append({"passes": seconds(passes), **{name: seconds(one.step) for name, one in steps.items()}})
    held = held[1:]  # the first makes states
    shares = [(r["muon"] - r["adamw"]) / (r["passes"] + r["adamw"]) for r in held]
    took = " | ".join(f"{1e3 * statistics.median(r[name] for r in held):.1f}" for name in held[0])
    return f"| {precision} | {took} | **{statistics.median(shares):.1%}** | {min(shares):.1%} to {max(shares):.1%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    square, wide = (products(torch.Size((WIDTH, long)), kind="cpu") for long in (WIDTH, 4 * WIDTH))
    multiplied = LAYERS * (4 * square + 2 * wide)
    trained = LAYERS * 12 * WIDTH**2 * LENGTH * ROWS * 3
    made = "\n".join(
        [
            *(HEAD, ""),
            f"Made by `python bench/optimizer_step.py --write` on {time.strftime('%Y-%m-%d')}, torch {torch.__version__}, {asked.threads} thread: GPT-2 with",
            f"{LAYERS} layers of {WIDTH}, {ROWS} rows of {LENGTH} tokens. CPU milliseconds, medians; the share is what Muon takes above fused AdamW, of the",
            f"training step with AdamW. Its five Newton-Schulz iterations have {multiplied / trained:.0%} of the multiplications of a step's passes, all in bf16.",
            "",
            "| precision of training | passes | AdamW | Muon | share | lowest to highest |",
            "|---|--:|--:|--:|--:|---|",
            *(measure(precision, asked.rounds) for precision in ("bf16", "fp32")),
        ]
    )
    print(made)
    if asked.write:
        section.put("optimizer_step", made)


if __name__ == "__main__":
    main()
