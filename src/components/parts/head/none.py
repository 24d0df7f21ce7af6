"""The model gives its hidden vectors, for sentence embeddings and for reading representations.

Reimers & Gurevych 2019 (Sentence-BERT), arXiv:1908.10084: such a model's vectors are pooled to one for each text
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo


@register("head", "none")
class NoHead(nn.Module):
    """No head: the model gives its hidden vectors; no loss over tokens can read them as logits.

    Shapes: (B, T, D) -> (B, T, D).
    """

    provides = ("vectors",)

    def __init__(self, d_model: int) -> None:  # noqa: ARG002  every head is offered it
        super().__init__()

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        return x
