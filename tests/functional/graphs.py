"""What autograd goes through."""

from __future__ import annotations

from torch import Tensor


def graph_of(tensor: Tensor) -> str:
    """The names of all of it."""
    seen, todo = set(), [tensor.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [n for n, _ in node.next_functions]
    return " ".join(type(n).__name__ for n in seen)
