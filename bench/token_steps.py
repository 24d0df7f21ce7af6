"""What asking modules costs while a text is written: a token's CPU time by the short way, and without it (docs/decisions/a-token-takes-the-short-way.md).

``python bench/token_steps.py [--rounds 11]``. Six layers of GPT-2's parts, vocabulary 65, one thread; both take turns, texts must be equal. Of width 24
the products cost nothing, so that what is around them is seen; 384 is shape (a).
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import nullcontext

import peers
import torch
from torch import Tensor, nn

from components import build
from components.core.sockets import Batch
from components.parts.decoding import _loop

SHORT, LONG = 32, 160  # new tokens of two texts: what a text costs besides its tokens falls out of their difference
STEPS = _loop.token_steps


def seconds(model: nn.Module, prompt: Tensor, new: int, *, short: bool) -> tuple[float, Tensor]:
    _loop.token_steps = STEPS if short else lambda _: nullcontext()  # type: ignore[assignment]  # for as long as the bench runs
    began = time.thread_time()
    text = build("decoding", "greedy").generate(model, Batch(prompt), cache=build("cache", "growing"), max_new_tokens=new)
    return time.thread_time() - began, text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for width in (24, 384):
        torch.manual_seed(0)
        parts = peers.PEERS["transformers"].parts
        model = build("model", "decoder", vocab_size=65, d_model=width, n_layers=6, context_length=256, **parts).eval()
        prompt, took = torch.randint(65, (1, 32)), {False: [], True: []}
        for _ in range(asked.rounds):
            texts = []
            for short, found in took.items():
                few, _ = seconds(model, prompt, SHORT, short=short)
                many, text = seconds(model, prompt, LONG, short=short)
                found.append(1e3 * (many - few) / (LONG - SHORT))
                texts.append(text)
            if not torch.equal(*texts):
                raise SystemExit("the texts differ, nothing is timed")
        long, short = (statistics.median(x) for x in took.values())
        print(f"width {width}: {long:.3f} ms a token by the modules, {short:.3f} by the short way")


if __name__ == "__main__":
    main()
