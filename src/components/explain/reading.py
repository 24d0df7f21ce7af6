"""What one mixer read, position by position: its weights, and what they were made of. ``mixers.py`` computes it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

SOFTMAX, EQUIVALENT, SHARE, GRADIENT = "softmax", "equivalent", "share", "gradient"
HOW = {
    SOFTMAX: "softmax of scaled and masked products of queries and keys",
    EQUIVALENT: "equivalent weights: the read is linear in the values, so these factors are exact, though no such matrix is ever made",
    SHARE: "share of each position in the state, averaged over channels: every channel is a decaying sum of its own",
    GRADIENT: "|d output / d input|, each row scaled to sum 1: this mixer is not linear in what it reads, so this is a sensitivity, no weight",
}


@dataclass
class Reading:
    """What one mixer read, of one sequence. Heads that share keys keep them shared: H is a multiple of G.

    While a whole batch is computed, all tensors but ``sinks`` and ``mixing`` have one axis more in front, B (or 1 where rows do not differ).

    Args:
        how: a key of HOW.
        weights: (H, Tq, Tk).
        values: (G, Tk, V) that they weigh; None for gradients.
        q, k: (H, Tq, K), (G, Tk, K), where there are some.
        seen: (H or 1, Tq, Tk) True where a query sees a key.
        bias: (H or 1, Tq, Tk) added to scaled scores.
        scale, soft_cap: of the scores.
        sinks: (H,) logits that take weight and give nothing.
        mixing: (H, H') factors with which maps were added up to heads, (H', Tq, Tk) being the maps before.
        maps: these maps; None where heads are not mixed.
        decay: (H, T) sums of the logarithm of what is kept from position to position: a weight is q . k times exp(decay_t - decay_s). None where
            nothing decays, or channels each at their own rate.
        divisor: (H, T) what was read is divided by.
    """

    how: str
    weights: Tensor
    values: Tensor | None = None
    q: Tensor | None = None
    k: Tensor | None = None
    seen: Tensor | None = None
    bias: Tensor | None = None
    scale: float | None = None
    soft_cap: float | None = None
    sinks: Tensor | None = None
    mixing: Tensor | None = None
    maps: Tensor | None = None
    decay: Tensor | None = None
    divisor: Tensor | None = None

    @property
    def context(self) -> Tensor | None:
        """(H, Tq, V): what is read, weights times values."""
        if self.values is None or self.how == SHARE:
            return None
        return self.weights @ repeated(self.values, self.weights.shape[-3])

    def of_row(self, row: int) -> Reading:
        """Of one row of a batch."""

        def pick(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[row if x.shape[0] > 1 else 0]

        return replace(
            self,
            weights=self.weights[row],
            values=pick(self.values),
            q=pick(self.q),
            k=pick(self.k),
            seen=pick(self.seen),
            bias=pick(self.bias),
            maps=pick(self.maps),
            decay=pick(self.decay),
            divisor=pick(self.divisor),
        )


def repeated(shared: Tensor, heads: int) -> Tensor:
    """(..., G, T, K) -> (..., H, T, K): each group as often as heads share it."""
    return shared.repeat_interleave(heads // shared.shape[-3], -3)
