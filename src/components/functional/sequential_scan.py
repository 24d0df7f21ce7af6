"""A recurrence position by position: a loop of Python, or one operator of a program that is exported, whose length is not known yet.

``torch.export`` would write a loop out for the length of its example. Its operator ``scan`` holds one step, at any length, and becomes ONNX's ``Scan``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan

States: TypeAlias = tuple[Tensor, ...]
Given: TypeAlias = Sequence[Any]  # tensors, or None where there is no such input
Step: TypeAlias = Callable[[States, Given], tuple[States, States]]


def exporting() -> bool:
    """Whether this forward is being written down as a program for all lengths: no loop over positions, no branch by their number."""
    return torch.compiler.is_exporting()


def sequential_scan(step: Step, states: States, inputs: Given, dim: int) -> tuple[States, States]:
    """What ``step`` read at each position, stacked along ``dim``, and the states after the last.

    Args:
        step: (states before a position, its inputs) -> (states after it, what is read there), none of them one of its arguments.
        states: before the first position.
        inputs: with positions along ``dim``, which a step gets without; what is None stays None.
        dim: the axis of positions, of inputs and of what is read.
    """
    there = [x for x in inputs if x is not None]

    def with_gaps(states: States, given: Given) -> tuple[States, States]:
        rest = iter(given)
        return step(states, [None if x is None else next(rest) for x in inputs])

    one = step if len(there) == len(inputs) else with_gaps

    if exporting():

        def apart(states: States, given: Sequence[Tensor]) -> tuple[States, States]:
            after, read = one(states, given)
            return after, tuple(x.clone() for x in read)  # the operator's results may not be one tensor twice

        # states that are one tensor would be taken for one state
        after, stacked = scan(apart, tuple(s.clone() for s in states), [x.movedim(dim, 0) for x in there])
        return tuple(x.movedim(0, dim) for x in stacked), after
    read: list[States] = []
    # unbound once: a slice for each position would give the backward pass a gradient of full size for each
    for given in zip(*(x.unbind(dim) for x in there), strict=True):
        states, out = one(states, given)
        read.append(out)
    return tuple(torch.stack(x, dim) for x in zip(*read, strict=True)), states
