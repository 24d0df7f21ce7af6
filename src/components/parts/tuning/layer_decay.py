"""The lower a layer, the more slowly it learns, since what it knows is of more general use.

Howard & Ruder 2018 (ULMFiT, discriminative fine-tuning), arXiv:1801.06146, section 3.2; by one factor for each layer as in Clark et al. 2020
(ELECTRA), arXiv:2003.10555, appendix B
"""

from __future__ import annotations

from components.core.registry import register
from components.core.signature import Probability
from components.core.weights import Weight

BELOW = ("embedding", "embedding_norm", "position", "positions")  # words of a path that stand before the first layer


@register("tuning", "layer_decay")
class LayerDecay:
    """Layer decay: the head learns at the optimizer's rate, the last layer ``decay`` times as fast, the one below ``decay`` times as fast as that.

    Embedding and positions are one below the first layer; what else is in no layer (the last norm, sums over layers) learns with the head.
    Each side of an encoder-decoder is counted by itself, from its own last layer. A tied head learns as the embedding that it is.

    Args:
        decay: how fast a layer learns, as a share of the rate of what stands above it: ULMFiT takes 1 / 2.6, ELECTRA 0.8. With 0 the head
            learns alone.
    """

    def __init__(self, *, decay: Probability = 0.8) -> None:
        self.decay = decay

    def rates(self, weights: list[Weight]) -> list[float]:
        counts: dict[str, int] = {}
        for w in weights:
            if w.layer is not None:
                counts[side(w)] = max(counts.get(side(w), 0), w.layer + 1)
        return [self.decay ** steps_below(w, counts) for w in weights]


def side(weight: Weight) -> str:
    """``stack`` of most models; ``encoder`` or ``decoder``."""
    return weight.name.partition(".")[0]


def steps_below(weight: Weight, counts: dict[str, int]) -> int:
    """How far below the head: 1 for the last layer of ``counts[side]``."""
    if weight.layer is not None:
        return counts[side(weight)] - weight.layer
    if not {*weight.name.split(".")} & {*BELOW}:
        return 0
    return 1 + counts.get(side(weight), max(counts.values(), default=0))
