"""Some tokens are hidden, and an encoder says what they were.

Devlin et al. 2018 (BERT), arXiv:1810.04805, section 3.1; drawn anew at each step as in Liu et al. 2019 (RoBERTa), arXiv:1907.11692
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import Fraction, NonNegative, Positive, Probability
from components.core.sockets import Batch, Terms
from components.parts.loss._objective import asked_only, changeable, drawn, text_of
from components.parts.loss._tokens import Head, need_targets, summed_cross_entropy


@register("loss", "masked_lm")
class MaskedLM:
    """Masked LM: cross entropy of the chosen tokens; the model sees most of them as a mask.

    ``prepare`` chooses; a document's first token, which tells where it begins, and special tokens around it are never chosen.

    Args:
        vocab_size: number of tokens that the tokenizer has.
        rate: probability of a token being chosen.
        masked: share of the chosen that become the mask.
        random: share of the chosen that become any token; the rest stays as it is.
        mask_id: the mask; null: an id beyond the tokenizer's, which the model has one more for.
        label_smoothing: share of each target that is spread over all tokens.
        chunk: rows whose logits are held at once, as ``next_token`` has it; only chosen tokens have any.
    """

    needs = {"model": ("bidirectional",)}
    refuses = {"head": ("causal",)}  # a head of one vector per row has no logits at each position
    provides = ("tokens", "hidden_tokens")
    likelihood = False
    whole = True  # documents with all that their tokenizer puts around them; none of it is hidden

    def __init__(
        self,
        vocab_size: int,
        *,
        rate: Probability = 0.15,
        masked: Probability = 0.8,
        random: Probability = 0.1,
        mask_id: NonNegative | None = None,
        label_smoothing: Fraction = 0.0,
        chunk: Positive | Literal["auto", "all"] = "auto",
    ) -> None:
        if masked + random > 1:
            raise ValueError(f"masked={masked} and random={random} are more than all of the chosen tokens; lower one")
        if mask_id is not None and mask_id >= vocab_size:
            raise ValueError(f"mask_id={mask_id} is not among the tokenizer's {vocab_size} ids; null adds one for it")
        self.vocab_size, self.rate, self.masked, self.random = vocab_size, rate, masked, random
        self.extra_tokens = 1 if mask_id is None else 0
        self.mask_id = vocab_size if mask_id is None else mask_id
        self.label_smoothing, self.chunk = label_smoothing, chunk

    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        ids = text_of(batch, "masked_lm")
        choice, how, other = drawn((3, *ids.shape), generator, ids)
        chosen = changeable(batch) & (choice < self.rate)
        seen = torch.where(chosen & (how < self.masked), self.mask_id, ids)
        replaced = chosen & (how >= self.masked) & (how < self.masked + self.random)
        seen = torch.where(replaced, (other * self.vocab_size).long(), seen)
        return replace(batch, ids=seen, targets=asked_only(ids, chosen))

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        need_targets(batch, "masked_lm", "its prepare(batch, generator) makes them")
        options = {"vocab_size": self.vocab_size, "chunk": self.chunk, "label_smoothing": self.label_smoothing}
        loss, _, weight = summed_cross_entropy(hidden, head, batch, **options, sparse=True)
        return Terms({"loss": (loss, weight)})
