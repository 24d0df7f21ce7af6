"""A small network whole: every weight, every sum, every neuron, as in the pictures of a first course."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor

from components.core.weights import weight_of
from components.explain.recorder import Call, Recorder

MOST_WEIGHTS = 600


def network(recorder: Recorder) -> dict[str, Any] | None:
    """The chain of ``nn.Linear`` that the model is: {layers: [{path, inputs, weights, bias, sums, outputs}]}, of the first row of the batch.

    ``inputs``, ``sums`` and ``outputs`` have a list for each position. ``outputs`` are what the next layer reads, the sums after its activation;
    of the last layer the sums themselves. None where the model is no such chain, or has more than MOST_WEIGHTS weights.
    """
    calls = recorder.linears
    if not calls or any(_rows(c.x) is None for c in calls) or not _chained(calls):
        return None
    if len({len(_rows(c.x) or ()) for c in calls}) > 1:
        return None
    if sum(c.module.weight.numel() for c in calls) > MOST_WEIGHTS:  # type: ignore[union-attr,operator]
        return None
    layers = []
    for call, after in zip(calls, [*calls[1:], None]):
        sums = _rows(call.y)
        outputs = sums if after is None else _rows(after.x)
        bias: Any = call.module.bias
        layer = {"path": call.path, "inputs": _rows(call.x), "weights": weight_of(call.module).detach().tolist(), "sums": sums}
        layers.append(layer | {"outputs": outputs, "bias": None if bias is None else bias.detach().tolist()})
    return {"layers": layers}


def _rows(x: Any) -> list[list[float]] | None:
    """The vectors of a call, one for each position; None for several rows or heads."""
    if not isinstance(x, Tensor) or x.dim() < 2 or x.shape[0] != 1 or x.dim() > 3:
        return None
    return x.reshape(-1, x.shape[-1]).tolist()


def _chained(calls: list[Call]) -> bool:
    """Whether each reads as many numbers as the one before it gave."""
    return all(a.module.out_features == b.module.in_features for a, b in pairwise(calls))
