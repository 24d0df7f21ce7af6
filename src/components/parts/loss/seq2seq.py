"""An encoder reads the source, and the decoder predicts each token of the target text.

Sutskever et al. 2014, arXiv:1409.3215; label smoothing: Vaswani et al. 2017, arXiv:1706.03762, section 5.4
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import Fraction, Positive, Probability
from components.core.sockets import Batch, Terms
from components.parts.loss._objective import asked_only
from components.parts.loss._tokens import Head, need_targets, summed_cross_entropy


@register("loss", "seq2seq")
class SequenceToSequence:
    """Sequence to sequence: cross entropy of each target token, given the source and the tokens before it; padding asks nothing.

    Where the data have no source, ``prepare`` cuts each row in two: the encoder reads the beginning, the decoder continues it. A document
    that the cut does not go through is not asked for, since it has no source.

    Args:
        vocab_size: number of logits.
        label_smoothing: share of each target that is spread over all tokens; the paper has 0.1.
        cut: share of a row that becomes the source where the data have none.
        chunk: rows whose logits are held at once, as ``next_token`` has it.
    """

    needs = {"model": ("source",)}
    refuses = {"head": ("causal",)}
    provides = ("tokens",)
    likelihood = False  # of the target alone

    def __init__(
        self,
        vocab_size: int,
        *,
        label_smoothing: Fraction = 0.0,
        cut: Probability = 0.5,
        chunk: Positive | Literal["auto", "all"] = "auto",
    ) -> None:
        self.vocab_size, self.label_smoothing, self.cut, self.chunk = vocab_size, label_smoothing, cut, chunk

    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:  # noqa: ARG002  nothing is drawn
        targets = need_targets(batch, "seq2seq")
        if batch.source is not None:
            return batch
        length = targets.shape[1]
        if length < 2:
            raise ValueError("seq2seq cannot cut rows of one token in two: give longer ones, or a source")
        at = min(max(round(self.cut * length), 1), length - 1)
        source, text = columns(batch, 0, at), columns(batch, at, length)
        if batch.documents is not None:
            continued = batch.documents[:, at:] == batch.documents[:, at - 1 : at]
            text = replace(text, targets=asked_only(targets[:, at:], continued))
        return replace(text, positions=None, source=replace(source, targets=None, weights=None))

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        targets = need_targets(batch, "seq2seq")
        if batch.valid is not None:
            batch = replace(batch, targets=asked_only(targets, batch.valid))
        options = {"vocab_size": self.vocab_size, "chunk": self.chunk, "label_smoothing": self.label_smoothing}
        loss, _, weight = summed_cross_entropy(hidden, head, batch, **options)
        return Terms({"loss": (loss, weight)})


def columns(batch: Batch, start: int, end: int) -> Batch:
    """The same rows, of each only the places from ``start`` to ``end``."""
    cut: dict[str, Any] = {n: v[:, start:end] if isinstance(v, Tensor) and v.dim() == 2 else v for n, v in vars(batch).items()}
    return Batch(**cut)
