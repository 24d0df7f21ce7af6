"""What the tests of single mixers share: a redrawn part, an info, inputs, and FLOPs as torch counts them."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from components import build
from components.core.flops import Flops, Work, flops_of
from components.core.sockets import SequenceInfo

D, T = 16, 7


def drawn(name: str, std: float = 0.5, **options: Any) -> torch.nn.Module:
    """``attention/name`` in float64 with every parameter redrawn."""
    part = build("attention", name, **{"d_model": D, "context_length": 64, **options}).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in part.parameters():
            p.copy_(torch.empty(p.shape).normal_(0, std, generator=generator))
    return part


def info(length: int = T, **changes: Any) -> SequenceInfo:
    return SequenceInfo(**{"positions": torch.arange(length)[None], **changes})


def inputs(rows: int = 2, length: int = T, seed: int = 1) -> torch.Tensor:
    return torch.randn(rows, length, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def counted(part: torch.nn.Module, length: int, causal: bool = True) -> int:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        part(inputs(1, length), info(length, causal=causal))
    return counter.get_total_flops()


def reported(part: torch.nn.Module, length: int, causal: bool = True) -> Flops:
    return flops_of(part, Work(length, causal=causal))


def stepwise(part: torch.nn.Module, x: torch.Tensor, chunk: int, **given: torch.Tensor) -> torch.Tensor:
    """The output of cached calls of ``chunk`` positions each; ``given``: fields of the info (B, T)."""
    cache = build("cache", "growing")
    given = {"positions": torch.arange(x.shape[1])[None], **given}
    steps = []
    for at in range(0, x.shape[1], chunk):
        here = SequenceInfo(**{n: v[:, at : at + chunk] for n, v in given.items()}, cache=cache)
        cache.open(here.with_(ids=torch.zeros(x.shape[0], here.positions.shape[1], dtype=torch.long)))
        steps.append(part(x[:, at : at + chunk], here))
    return torch.cat(steps, 1)


def check_documents_and_padding(part: torch.nn.Module, chunk: int | None) -> None:
    """Two documents with padding before, between and within: each as if it stood alone. ``chunk``: positions of a cached call; None: all at once."""
    x = inputs(1, 9)
    given = {
        "valid": torch.tensor([[False, True, True, False, True, False, True, True, True]]),
        "documents": torch.tensor([[0, 0, 0, 0, 0, 0, 1, 1, 1]]),
        "positions": torch.tensor([[0, 0, 1, 2, 2, 3, 0, 1, 2]]),
    }
    out = part(x, info(9, **given)) if chunk is None else stepwise(part, x, chunk, **given)
    for places in ([1, 2, 4], [6, 7, 8]):
        torch.testing.assert_close(out[:, places], part(x[:, places], info(3)))
