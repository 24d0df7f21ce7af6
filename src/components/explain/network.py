"""A small network whole: every weight, every sum, every neuron, as in the pictures of a first course."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from components.core.weights import weight_of
from components.explain.recorder import Call, Recorder
from components.explain.trace import Linear

MOST_WEIGHTS = 600


def linear_chain(recorder: Recorder) -> list[Linear] | None:
    """The layers of a model that is one chain of ``nn.Linear``; None where it is not, or has more than MOST_WEIGHTS weights."""
    calls = recorder.linears
    inputs, sums = [_rows(c.x) for c in calls], [_rows(c.y) for c in calls]
    if not calls or any(x is None for x in inputs) or not _chained(calls) or len({len(x or ()) for x in inputs}) > 1:
        return None
    if sum(_linear(c).weight.numel() for c in calls) > MOST_WEIGHTS:
        return None
    layers = []
    for call, own, total, after in zip(calls, inputs, sums, [*inputs[1:], None]):
        assert own is not None
        assert total is not None
        module = _linear(call)
        bias = None if module.bias is None else module.bias.detach().tolist()
        layers.append(
            Linear(call.path, own, weight_of(module).detach().tolist(), total, total if after is None else after, bias)
        )
    return layers


def _linear(call: Call) -> nn.Linear:
    assert isinstance(call.module, nn.Linear)
    return call.module


def _rows(x: object) -> list[list[float]] | None:
    """The vectors of a call, one for each position; None for several rows or heads."""
    if not isinstance(x, Tensor) or x.dim() < 2 or x.shape[0] != 1 or x.dim() > 3:
        return None
    return x.reshape(-1, x.shape[-1]).tolist()


def _chained(calls: list[Call]) -> bool:
    """Whether each reads as many numbers as the one before it gave."""
    return all(_linear(a).out_features == _linear(b).in_features for a, b in pairwise(calls))
