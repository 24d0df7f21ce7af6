"""The beginning of each row is seen from everywhere, and the rest is predicted token by token.

Liu et al. 2018, arXiv:1801.10198; Raffel et al. 2019 (T5), arXiv:1910.10683, section 3.2.1
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import Fraction, Positive, Probability
from components.core.sockets import Batch, Terms
from components.parts.loss._objective import asked_only, drawn, positions_of
from components.parts.loss._tokens import Head, need_targets, summed_cross_entropy


@register("loss", "prefix_lm")
class PrefixLM:
    """Prefix LM: cross entropy of the tokens after a prefix, all of whose positions see one another.

    ``prepare`` draws one length for each row, up to its longest document's; so many tokens of each document in it are prefix.

    Args:
        vocab_size: number of logits.
        shortest: share of the longest document that is prefix at least; one token always is.
        longest: share of the longest document that is prefix at most; one token always is not.
        label_smoothing: share of each target that is spread over all tokens.
        chunk: rows whose logits are held at once, as ``next_token`` has it; only what follows the prefix has any.
    """

    needs = {"attention": ("prefix",)}
    refuses = {"model": ("causal",), "attention": ("causal",), "head": ("causal",)}
    provides = ("tokens",)
    likelihood = False  # of a part of the text only

    def __init__(
        self,
        vocab_size: int,
        *,
        shortest: Probability = 0.0,
        longest: Probability = 1.0,
        label_smoothing: Fraction = 0.0,
        chunk: Positive | Literal["auto", "all"] = "auto",
    ) -> None:
        if shortest > longest:
            raise ValueError(f"shortest={shortest} is more than longest={longest}; lower it")
        self.vocab_size, self.shortest, self.longest = vocab_size, shortest, longest
        self.label_smoothing, self.chunk = label_smoothing, chunk

    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        targets = need_targets(batch, "prefix_lm")
        positions = positions_of(batch)
        length = positions.amax(1) + 1  # of the longest document
        share = self.shortest + (self.longest - self.shortest) * drawn((len(targets),), generator, targets)
        prefix = torch.minimum((share * length).round().long(), length - 1).clamp(min=1)
        # the last position of the prefix is the first whose target it does not see
        return replace(batch, targets=asked_only(targets, positions >= prefix[:, None] - 1), prefix=prefix)

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        need_targets(batch, "prefix_lm")
        options = {"vocab_size": self.vocab_size, "chunk": self.chunk, "label_smoothing": self.label_smoothing}
        loss, _, weight = summed_cross_entropy(hidden, head, batch, **options, sparse=True)
        return Terms({"loss": (loss, weight)})
