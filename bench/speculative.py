"""Speculative decoding beside greedy: the same text, written by the large model alone and with a draft of a tenth of its weights.

``python bench/speculative.py [--rounds 9] [--steps 360] [--ahead 4] [--keep FOLDER] [--write]``. Shape (a), 6 layers of 384 with GPT-2's parts, and a
draft of 2 layers of 192 learn the first pages of docs/how_to by bytes, for ``--steps`` steps and three times as many, or come out of ``--keep``. Then
both go on from prompts of that text, in turns, 128 tokens each; texts are equal, or nothing is timed. Given are the medians of the round-by-round
ratios in CPU seconds of one thread, the tokens that a round brings, and what a round's parts take: proposing, verifying, and the rest. ``--write``
puts the table into docs/how_to/decode_faster.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import section
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components import build
from components.core.makers import make
from components.core.sockets import Batch
from components.core.weights import roles

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "how_to" / "decode_faster.md"
PROMPT, NEW, LENGTH, ROWS = 32, 128, 160, 8
SIZES = {"large": (6, 384, 6), "draft": (2, 192, 3)}


def text() -> Tensor:
    pages = [f.read_bytes() for f in sorted((ROOT / "docs" / "how_to").glob("*.md")) if f != PAGE]
    return torch.tensor(list(b"\n".join(pages))[:16_000])


def model_of(name: str) -> nn.Module:
    layers, width, heads = SIZES[name]
    options = {
        "name": "decoder",
        "d_model": width,
        "n_layers": layers,
        "context_length": 256,
        "position": "learned",
        "norm": "layer",
    }
    options |= {"attention": {"name": "mha", "n_heads": heads}, "ffn": {"name": "mlp", "d_ff": 4 * width}}
    return make(options, "model", vocab_size=256)


def trained(name: str, ids: Tensor, steps: int, keep: Path | None) -> nn.Module:
    torch.manual_seed(0)
    model = model_of(name)
    if keep is not None and (keep / f"{name}.pt").exists():
        model.load_state_dict(torch.load(keep / f"{name}.pt"))
        return model.eval()
    optimizer = build("optimizer", "muon", weights=list(roles(model)))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2 - 2 * step / steps))
    for step in range(steps):
        starts = torch.randint(len(ids) - LENGTH - 1, (ROWS,))
        rows = ids[starts[:, None] + torch.arange(LENGTH + 1)]
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(Batch(rows[:, :-1]))
        loss = F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 25 == 24:
            print(f"{name}: step {step + 1}, loss {loss.item():.2f}", flush=True)
    if keep is not None:
        keep.mkdir(exist_ok=True)
        torch.save(model.state_dict(), keep / f"{name}.pt")
    return model.eval()


def seconds(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    began = time.thread_time()
    found = work()
    return time.thread_time() - began, found


class Timed:
    """A model whose calls are timed."""

    def __init__(self, model: nn.Module) -> None:
        self.spent, self.calls, self.forward = 0.0, 0, model.forward
        model.forward = self  # type: ignore[method-assign]  # for as long as the bench runs

    def __call__(self, *given: object, **named: object) -> object:
        began = time.thread_time()
        found = self.forward(*given, **named)
        self.spent, self.calls = self.spent + time.thread_time() - began, self.calls + 1
        return found


def measured(large: nn.Module, draft: nn.Module, ids: Tensor, rounds: int, ahead: int, weights: str) -> str:
    greedy = build("decoding", "greedy", weights=weights)
    both = build("decoding", "speculative", weights=weights, ahead=ahead, samplers=[{"name": "top_k", "k": 1}])
    both.draft = draft

    def ways(prompt: Tensor) -> list[Callable[[], Tensor]]:
        return [
            lambda way=way: way.generate(large, Batch(prompt), cache=build("cache", "growing"), max_new_tokens=NEW, generator=0)
            for way in (greedy, both)
        ]

    ratios, alone, together, new, proposed, accepted = [], [], [], 0, 0, 0
    parts: list[tuple[float, float, float]] = []
    for i in range(rounds + 1):
        prompt = ids[(i + 1) * 499 : (i + 1) * 499 + PROMPT][None]
        (one, said), (two, also) = (seconds(way) for way in ways(prompt))
        if weights == "same" and not torch.equal(said, also):
            raise SystemExit("the texts differ, nothing is timed")
        if i:
            ratios.append(one / two)
            alone.append(one / NEW)
            together.append(two / NEW)
            new, proposed, accepted = new + NEW, proposed + both.proposed, accepted + both.accepted
    timed = Timed(large), Timed(draft)
    for i in range(rounds):
        spent, _ = seconds(ways(ids[(i + 1) * 499 : (i + 1) * 499 + PROMPT][None])[1])
        passes = timed[0].calls
        parts.append((timed[1].spent / passes, timed[0].spent / passes, (spent - timed[0].spent - timed[1].spent) / passes))
        for one in timed:
            one.spent, one.calls = 0.0, 0
    for model, one in zip((large, draft), timed):
        model.forward = one.forward  # type: ignore[method-assign]  # as it was
    a_round = [1e3 * statistics.median(p) for p in zip(*parts)]
    return (
        f"| {weights} | {ahead} | {1e3 * statistics.median(alone):.2f} ms | {1e3 * statistics.median(together):.2f} ms | **{statistics.median(ratios):.2f}** "
        f"({min(ratios):.2f} to {max(ratios):.2f}) | {accepted / max(1, proposed):.0%} | {new / (proposed / ahead):.1f} tokens | "
        f"{a_round[0]:.1f}, {a_round[1]:.1f}, {a_round[2]:.1f} ms |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=360)
    parser.add_argument("--ahead", type=int, nargs="+", default=[4])
    parser.add_argument("--weights", nargs="+", default=["same", "bf16"])
    parser.add_argument("--keep", type=Path, help="a folder with the trained weights, or for them")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    ids = text()
    large, draft = (trained(name, ids, asked.steps * (1 if name == "large" else 3), asked.keep) for name in SIZES)
    share = sum(p.numel() for p in draft.parameters()) / sum(p.numel() for p in large.parameters())
    lines = [
        f"Beside greedy, with a draft of {share:.0%} of the weights, on pages that both have learned; one thread, CPU time a token, torch {torch.__version__}; "
        f"{os.getloadavg()[0]:.1f} processes ran or waited at its end. `python bench/speculative.py --write`.",
        "",
        "| weights | ahead | greedy | speculative | greedy over speculative | accepted | a round | proposing, verifying, the rest |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    lines += [measured(large, draft, ids, asked.rounds, n, w) for w in asked.weights for n in asked.ahead]
    print("\n".join(lines))
    if asked.write:
        section.put("speculative", "\n".join(lines), PAGE)


if __name__ == "__main__":
    main()
