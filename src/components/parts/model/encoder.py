"""It takes ids and gives logits at each position.

Devlin et al. 2018 (BERT), arXiv:1810.04805
"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.sockets import Batch, Terms, batch_of
from components.parts.model._layered import OneStack


@register("model", "encoder")
class Encoder(OneStack):
    """Encoder: every position sees every other.

    Args:
        attention: mixes positions, in both directions.
    """

    provides = ("bidirectional",)
    lacks = ("causal", "cacheable")

    position = "learned"
    norm = "layer"

    def forward(self, batch: Tensor | Batch, objective: object = None) -> Tensor | Terms:
        """Logits of every position, or what ``objective(hidden, head, batch)`` and the layers return."""
        return self.read(batch_of(batch), objective, causal=False)
