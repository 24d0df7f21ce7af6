"""Cross entropy of each position's logits with the token that follows, label smoothing and z-loss by option.

Smoothing: Szegedy et al. 2016, arXiv:1512.00567; z-loss: Chowdhery et al. 2022, arXiv:2204.02311
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from components.core.registry import register
from components.core.signature import Fraction, NonNegativeFloat, Positive
from components.core.sockets import Batch, Terms
from components.parts.loss._tokens import Head, need_targets, summed_cross_entropy


@register("loss", "next_token")
class NextToken:
    """Next token: cross entropy with the token that follows, in nats, summed in fp32.

    Positions with target -100 count nothing; ``batch.weights`` weigh the others. The term ``loss`` has the sum of weights as its
    weight; ``z_loss``, there only if it has a factor, is the mean square of log Z and enters the total with that factor.

    Args:
        vocab_size: number of logits.
        z_loss: factor of the mean square of log Z, which keeps logits from drifting; 1e-4 is usual.
        label_smoothing: share of each target that is spread over all tokens.
        chunk: rows whose logits are held at once; a second chunk is recomputed in the backward pass, for one head product more.
            ``auto`` takes all in one go up to 256 MB of logits, ``all`` always.
    """

    # a model that sees the token it is to predict learns nothing
    refuses = {"model": ("causal",), "attention": ("causal",), "head": ("causal",)}
    provides = ("tokens",)
    likelihood = True  # the mean is that of the whole text, so bits per byte follow from it

    def __init__(
        self,
        vocab_size: int,
        *,
        z_loss: NonNegativeFloat = 0.0,
        label_smoothing: Fraction = 0.0,
        chunk: Positive | Literal["auto", "all"] = "auto",
    ) -> None:
        self.vocab_size, self.z_loss, self.label_smoothing, self.chunk = vocab_size, z_loss, label_smoothing, chunk

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        need_targets(batch, "next_token")
        options = {"vocab_size": self.vocab_size, "chunk": self.chunk, "label_smoothing": self.label_smoothing}
        loss, z, weight = summed_cross_entropy(hidden, head, batch, **options)
        losses = {"loss": (loss, weight)}
        if self.z_loss:
            losses["z_loss"] = (z, weight)
        return Terms(losses, aim={"z_loss": self.z_loss} if self.z_loss else {})
