"""Attention on this machine's CPU, in bf16 where nothing else is said: the kernel that is chosen beside torch's fused one, forward and backward, and their errors.

``python bench/attention.py [--rounds 5] [--write]``. Both take turns in one process; medians of milliseconds, and of the ratios round by round. Errors are
relative to the formula in fp64, of the output and of the gradients of queries, keys and values. Dropout is drawn by samples, as in training; torch's kernel,
which knows none, draws from its generator and keeps all weights. ``--write`` puts the tables into docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command line has it

import section
import torch
from torch import Tensor

from components.core import allocator
from components.core.draws import drawn_for
from components.core.sockets import SequenceInfo
from components.functional import attention
from components.functional.attention import attend, reference
from components.functional.attention_mask import MaskSpec
from components.functional.chosen import hearing
from components.parts.mask.full import FullMask
from components.parts.mask.sliding_window import SlidingWindowMask

HEAD = "## Attention in bf16"
SCORES = 24 * 1024  # positions times heads of a case: longer texts are fewer
HEADS, WIDTH = 6, 64


@dataclass(frozen=True)
class Case:
    """One shape and what is asked of it."""

    name: str
    length: int
    window: int | None = None
    documents: int = 1
    causal: bool = True
    bias: bool = False
    backward: bool = True
    dropout: float = 0.0
    dtype: torch.dtype = torch.bfloat16

    def tensors(self, spread: float = 1.0) -> list[Tensor]:
        """q, k, v, and a bias if there is one. Scores have a standard deviation of ``spread``."""
        torch.manual_seed(0)
        texts = max(1, SCORES // (HEADS * self.length))
        found = [torch.randn(texts, HEADS, self.length, WIDTH) for _ in range(3)]
        found[0] *= spread
        made = [x.to(self.dtype).requires_grad_() for x in found]
        return [*made, torch.randn(1, HEADS, self.length, self.length, requires_grad=True)] if self.bias else made

    def spec(self, texts: int) -> MaskSpec:
        positions = torch.arange(self.length)[None]
        cut = self.length // self.documents
        documents = (torch.arange(self.length) // cut).expand(texts, -1) if self.documents > 1 else None
        info = SequenceInfo(positions=positions, documents=documents, causal=self.causal)
        return MaskSpec(info, info, self.causal, FullMask() if self.window is None else SlidingWindowMask(window=self.window))


CASES = [
    *(Case("causal", n) for n in (256, 512, 1024, 2048, 4096, 8192)),
    Case("causal, forward alone", 1024, backward=False),
    Case("all keys", 1024, causal=False),
    Case("four documents in each row", 2048, documents=4),
    Case("a window of 128", 2048, window=128),
    Case("a bias that is learnt", 1024, bias=True),
    *(Case("causal, a tenth dropped", n, dropout=0.1) for n in (128, 256, 1024, 4096)),
    Case("all keys, a tenth dropped", 1024, causal=False, dropout=0.1),
    Case("a window of 128, a tenth dropped", 2048, window=128, dropout=0.1),
    *(Case("causal, a tenth dropped, in fp32", n, dropout=0.1, dtype=torch.float32) for n in (256, 1024)),
]


def run(case: Case, given: list[Tensor], kernel: Callable[..., Tensor]) -> tuple[Tensor, ...]:
    q, k, v, *bias = given
    with torch.set_grad_enabled(case.backward), drawn_for(0, torch.arange(q.shape[0])):
        out = kernel(q, k, v, case.spec(q.shape[0]), bias[0] if bias else None, case.dropout)
    return (out, *torch.autograd.grad(out, given, torch.ones_like(out))) if case.backward else (out,)


def chosen(q: Tensor, k: Tensor, v: Tensor, spec: MaskSpec, bias: Tensor | None, dropout: float) -> Tensor:
    return attend(q, k, v, spec, bias=bias, dropout=dropout)


def fused(q: Tensor, k: Tensor, v: Tensor, spec: MaskSpec, bias: Tensor | None, dropout: float) -> Tensor:
    return attention._fused(q, k, v, spec, bias, None, dropout)


def row(case: Case, rounds: int) -> str:
    given = case.tensors()
    with hearing() as heard:
        run(case, given, chosen)
    (kernel,) = {choice.kernel for choice in heard}
    took: dict[Callable[..., Tensor], list[float]] = {fused: [], chosen: []}
    for _ in range(rounds + 1):
        for way, times in took.items():
            start = time.perf_counter()
            run(case, given, way)
            times.append(1e3 * (time.perf_counter() - start))
    theirs, ours = (times[1:] for times in took.values())
    ratios = [a / b for a, b in zip(theirs, ours)]
    medians = f"{statistics.median(theirs):.1f} | {statistics.median(ours):.1f} | **{statistics.median(ratios):.2f}**"
    return f"| {case.name} | {case.length:,} | {kernel} | {medians} | {min(ratios):.2f} to {max(ratios):.2f} |"


def errors(spread: float) -> list[str]:
    case = replace(CASES[2], length=1024)
    given = [x[:1].detach().requires_grad_() for x in case.tensors(spread=spread)]
    exact = [x.detach().double().requires_grad_() for x in given]
    seen = case.spec(1).dense(given[0].device)
    want = run(case, exact, lambda q, k, v, *_: reference(q, k, v, seen))
    lines = []
    for name, way in (("fused", fused), ("chosen", chosen)):
        found = run(case, given, way)
        off = [float(((a.double() - b).norm() / b.norm()).detach()) for a, b in zip(found, want)]
        lines.append(f"| {name} | {spread:g} | " + " | ".join(f"{x:.4f}" for x in off) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    allocator.settle()  # as a run has it
    torch.set_num_threads(os.cpu_count() or 1)
    lines = [
        *(HEAD, ""),
        f"Made by `python bench/attention.py --write` on {time.strftime('%Y-%m-%d')}, torch {torch.__version__}, {torch.get_num_threads()} threads;",
        f"{os.getloadavg()[0]:.1f} processes ran or waited at its end. {HEADS} heads of {WIDTH}, {SCORES // HEADS:,} positions in all, forward and backward.",
        "",
        "| what | positions | kernel | fused, ms | ours, ms | fused / ours | lowest to highest |",
        "|---|--:|---|--:|--:|--:|---|",
        *(row(case, asked.rounds) for case in CASES),
        *("", "Relative errors at 1,024 positions, by the standard deviation of scores:", ""),
        *("| kernel | of scores | output | queries | keys | values |", "|---|--:|--:|--:|--:|--:|"),
        *(line for spread in (1.0, 3.0) for line in errors(spread)),
    ]
    made = "\n".join(lines)
    print(made)
    if asked.write:
        section.put("attention", made)


if __name__ == "__main__":
    main()
