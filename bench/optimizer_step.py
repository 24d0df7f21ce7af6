"""What an optimizer's step costs beside the training step that it ends: Muon and fused AdamW on shape (a), GPT-2 with 6 layers of 384, 16 rows of 256 tokens.

``python bench/optimizer_step.py [--rounds 9] [--precision bf16|fp32] [--threads 1]``. Forward and backward passes, AdamW and Muon take turns in one
process; medians and spreads of the round-by-round shares, in CPU seconds, which other processes on the machine disturb least.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from components import build
from components.core.makers import make
from components.core.sockets import Batch
from components.core.weights import roles

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    model = make(OPTIONS, "model", vocab_size=VOCAB)
    x, y = (torch.randint(0, VOCAB, (ROWS, LENGTH)) for _ in range(2))

    def passes() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=asked.precision == "bf16"):
            logits = model(Batch(x))
        F.cross_entropy(logits.float().flatten(0, 1), y.flatten()).backward()

    steps = {name: build("optimizer", name, weights=list(roles(model)), lr=1e-4) for name in ("adamw", "muon")}
    rounds: list[dict[str, float]] = []
    for _ in range(asked.rounds + 1):
        rounds.append({"passes": seconds(passes), **{name: seconds(one.step) for name, one in steps.items()}})
    shares = []
    for r in rounds[1:]:  # the first makes states
        shares.append((r["muon"] - r["adamw"]) / (r["passes"] + r["adamw"]))
    for name in rounds[0]:
        print(f"{name:>7}: {1e3 * statistics.median(r[name] for r in rounds[1:]):7.1f} ms")
    print(f"Muon over AdamW: {statistics.median(shares):.1%} of the training step ({min(shares):.1%} to {max(shares):.1%})")


if __name__ == "__main__":
    main()
