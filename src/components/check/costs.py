"""What a part costs: FLOPs in two figures, and parameters as ``components show --measure`` predicts them."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from components.check.building import step
from components.check.cases import Violation, holds
from components.check.host import ON_PATH, SOURCE, Host, ids
from components.check.measure import figures, holder
from components.core.flops import Flops, Work, flops_of
from components.core.sockets import SequenceInfo

LENGTHS = (16, 80)
CELLS = (64, 256)
COUNTED = tuple(k for k in ON_PATH if k != "init")


def work(host: Host, length: int) -> Work:
    return Work(length, causal=host.causal, memory=SOURCE if host.has_source else None)


def reported(host: Host, model: nn.Module, length: int) -> Flops:
    return flops_of(model, work(host, length))


@holds("executes the FLOPs that it reports", *COUNTED)
def flops_executed(host: Host) -> None:
    """FLOPs of the whole model, so that a part's own report and what others count for it add up: one row, plain path, on CPU."""
    model = host.model(0.1, dtype=torch.float32, length=LENGTHS[-1])
    for length in LENGTHS:
        counter = FlopCounterMode(display=False)
        with sdpa_kernel(SDPBackend.MATH), counter:
            host.run(model, ids(1, length))
        found, said = counter.get_total_flops(), reported(host, model, length).executed
        if found != said:
            raise Violation(f"with it the model executes {found} at {length} positions and reports {said} ({said - found:+d})")


@holds("FLOPs of the algorithm are at most those executed", *COUNTED)
def flops_of_the_algorithm(host: Host) -> None:
    model = host.build(length=4 * 64)
    found = []
    for length in (64, 128, 256):
        executed, algorithm = reported(host, model, length)
        if not 0 <= algorithm <= executed:
            raise Violation(f"algorithm {algorithm}, executed {executed} at {length} positions")
        found.append(algorithm)
    if host.pooled:
        return
    for a, b in pairwise(found):
        if host.subject.kind != "model" and not 1.5 * a <= b <= 4 * a:  # between linear and quadratic in the length
            raise Violation(f"they grow by {b / max(a, 1):.2f} when the length doubles")


@holds("counts the cells that it shows", "mask")
def counts_cells(host: Host) -> None:
    for length in CELLS:
        rule = host.parts(host.build(length=length))[0]
        places = torch.arange(length)[None]
        info = SequenceInfo(positions=places)
        for causal in (True, False):
            allowed = rule.allow(info.positions[:, :, None], info.positions[:, None, :])  # type: ignore[operator,index]
            seen = torch.ones(1, length, length, dtype=torch.bool) if allowed is None else allowed.expand(1, length, length)
            seen = seen.tril() if causal else seen
            said, found = rule.cells(length, causal), int(seen.sum())  # type: ignore[operator]
            if said != found:
                raise Violation(f"cells({length}, causal={causal}) is {said}, and {found} are True")
        if rule.covers(length) and not seen.all():  # type: ignore[operator]
            raise Violation(f"covers({length}) says that nothing is hidden, and {int((~seen).sum())} cells are")


@holds("has the parameters that show predicts")
def parameters_as_predicted(host: Host) -> None:
    if not host.parts(host.build()):
        return
    predicted = figures(host).parameters
    model = host.model(dtype=torch.float32)
    step(host, model)
    found = sum(p.numel() for p in holder(host, model).parameters())
    if found != predicted:
        raise Violation(f"show predicts {predicted}, after a step there are {found}")
