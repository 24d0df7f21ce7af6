"""What ``components show --measure`` prints of a part: parameters and FLOPs per token at a small shape, built on meta."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from components.check.host import LENGTH, ON_PATH, SOURCE, WIDTH, Host
from components.check.subject import Subject
from components.core.errors import UserError
from components.core.flops import Work, flops_of


@dataclass(frozen=True)
class Figures:
    """Figures of one instance, with the parts in its sockets. FLOPs: the forward pass of one sequence."""

    parameters: int
    executed: int
    algorithm: int
    length: int = LENGTH
    width: int = WIDTH

    @property
    def shape(self) -> str:
        return f"width {self.width}, {self.length} positions"


def figures(host: Host) -> Figures:
    with torch.device("meta"):
        model = host.build()
    part = holder(host, model)
    flops = flops_of(part, Work(LENGTH, causal=host.causal, memory=SOURCE if host.has_source else None))
    return Figures(sum(p.numel() for p in part.parameters()), flops.executed, flops.algorithm)


def holder(host: Host, model: nn.Module) -> nn.Module:
    """The part in the model; the largest if there are several (a stack's own residual opens the stream, and has no scale)."""
    found = host.parts(model)
    if not found:
        raise UserError(host.subject.label, "it has no module of its own, so that there is nothing to count")
    return max(found, key=lambda m: sum(p.numel() for p in m.parameters()))


def figures_of(subject: Subject) -> Figures:
    """Figures of anything on a model's path."""
    if subject.kind not in ON_PATH or subject.kind == "init":
        raise UserError(
            subject.label,
            f"a {subject.kind} has no parameters of its own",
            f"kinds that are measured: {', '.join(k for k in ON_PATH if k != 'init')}",
        )
    return figures(Host.of(subject))
