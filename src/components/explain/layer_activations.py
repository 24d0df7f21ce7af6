"""What one layer did in a pass that ``trace`` recorded: the stream after it, what its attention read, its neurons, its experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from components.core.errors import UserError
from components.explain.layers import Leaves
from components.explain.mixers import batch_readings
from components.explain.reading import EQUIVALENT, HOW, SOFTMAX, Reading
from components.explain.recorder import Call, Recorder
from components.functional.routing import Routing

NO_MIXER = "the layer has no attention"


@dataclass(eq=False)
class LayerActivations:
    """One layer, or a mixer that stands in none. Weights and readings are computed when they are first asked for.

    Args:
        path: of the module, ``stack.layers.3``.
        visit: how often the pass had been here before (looped layers).
        hidden: (B, T, d_model) the stream after the layer.
    """

    path: str
    visit: int
    hidden: Tensor
    _wiring: nn.Module = field(repr=False)
    _call: Call = field(repr=False)
    _inner: Sequence[Call] = field(repr=False)
    _recorder: Recorder = field(repr=False)

    def readings(self, *, cross: bool = False) -> list[Reading]:
        """What the attention read, as the glass box spells it out: weights, q, k, values, bias, seen, decay, ..., each (B, H, ...).

        ``explain/reading.py`` lists the fields. Empty where the mixer has no weights; two where it reads both ways or is two mixers.
        """
        return [r for call in self._mixers(cross) for r in batch_readings(call)]

    @cached_property
    def attention(self) -> Tensor | None:
        """(B, H, T, T) weights of each query on each key; None where the mixer has none (``why_no_attention``).

        Of softmax attention its weights, of linear attention the equal ones: the read is linear in the values, so that the factors are exact,
        though no such matrix is ever made. A mixer that reads both ways, and one of two mixers, has the heads of both.
        """
        return self._weights(cross=False)

    @cached_property
    def cross(self) -> Tensor | None:
        """(B, H, T, S) the weights on an encoder's memory; None where the layer reads none."""
        return self._weights(cross=True)

    @property
    def why_no_attention(self) -> str:
        """Why ``attention`` is None; empty where it is not."""
        if self.attention is not None:
            return ""
        if not (calls := self._mixers(cross=False)):
            return NO_MIXER
        found = batch_readings(calls[0])
        name = type(calls[0].module).__name__
        if found:
            return f"{name} has no weights: {HOW[found[0].how]}"
        return f"{name} has no weights: it told no kernel of ours what to compute, as a recurrence does that is not linear in what it reads"

    @property
    def neurons(self) -> Tensor | None:
        """(B, T, width) the hidden layer of the feed-forward: what its projection ``out`` read. None where it has none."""
        paths = tuple(f"{c.path}." for c in self._inner if c.kind == "ffn")
        of_layer = [c for c in self._recorder.linears if c.layer == self._call.layer and c.path.startswith(paths)]
        found = [c.x for c in of_layer if paths and c.path.endswith("out") and isinstance(c.x, Tensor) and c.x.dim() == 3]
        return found[-1] if found else None

    @property
    def routing(self) -> Routing | None:
        """Of a mixture of experts: who chose whom, with which weight; tokens are numbered through the batch, row by row."""
        calls = (c for c in self._recorder.calls if c.kind == "router" and c.layer == self._call.layer)
        return next((c.y for c in calls if isinstance(c.y, Routing)), None)

    def logits(self) -> Tensor:
        """(B, T, V) what the head says of the stream here, as if the later layers were not there (the logit lens, nostalgebraist 2020).

        Raises:
            UserError: the model has no head for tokens, or its layers stand in no stack.
        """
        heads = [c for c in self._recorder.of_kind("head") if isinstance(c.y, Tensor) and c.y.dim() == 3]
        if not heads or not isinstance(self._wiring, Leaves):
            raise UserError(self.path, "no head for tokens reads this stream", "hidden has the stream itself")
        with torch.set_grad_enabled(self.hidden.requires_grad):
            return heads[-1].module(self._wiring.leave(self._call.y), heads[-1].info)

    @property
    def attention_path(self) -> str:
        """Of the attention; of the layer where it has none."""
        return next((c.path for c in self._mixers(cross=False)), self.path)

    def _mixers(self, cross: bool) -> list[Call]:
        return [c for c in self._inner if c.kind == "attention" and bool(c.module.crosses) == cross]

    def _weights(self, *, cross: bool) -> Tensor | None:
        found = [r.weights for r in self.readings(cross=cross) if r.how in (SOFTMAX, EQUIVALENT)]
        return torch.cat(found, 1) if found else None
