"""Paulus et al. 2017, arXiv:1705.04304, section 2.5 (trigrams)"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.signature import Positive, PositiveFloat


@register("sampler", "no_repeat_ngram")
class NoRepeatNgram:
    """No repeated n-gram: what would complete an n-gram that has occurred becomes -inf, or less likely.

    A row in which nothing would be left stays as it is. The prompt counts.

    Args:
        n: length of the n-grams; 1 forbids every token that has occurred.
        penalty: subtracted from the logit once, instead of forbidding; null: forbidden.
    """

    def __init__(self, *, n: Positive = 3, penalty: PositiveFloat | None = None) -> None:
        self.n, self.penalty = n, penalty

    def __call__(self, logits: Tensor, ids: Tensor, valid: Tensor | None) -> Tensor:
        if ids.shape[1] < self.n:
            return logits
        grams = ids.unfold(1, self.n, 1)  # (B, T - n + 1, n)
        begun = (grams[:, :, :-1] == ids[:, None, ids.shape[1] - self.n + 1 :]).all(-1)
        if valid is not None:
            begun = begun & valid.unfold(1, self.n, 1).all(-1)
        hits = logits.new_zeros(logits.shape).scatter_add_(1, grams[:, :, -1], begun.to(logits.dtype)) > 0
        if self.penalty is not None:
            return logits - self.penalty * hits
        out = logits.masked_fill(hits, float("-inf"))
        return out.where(out.isfinite().any(-1, keepdim=True), logits)
