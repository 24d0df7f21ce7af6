"""Devlin et al. 2018 (BERT), arXiv:1810.04805; Warner et al. 2024 (ModernBERT), arXiv:2412.13663"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import Maker, SequenceInfo, make
from components.functional.activations import ACTIVATIONS
from components.functional.linear import Linear


@register("head", "mlm")
class MaskedHead(nn.Module):
    """Masked-LM head: a dense layer, an activation and a norm before the logits.

    Args:
        activation: after the dense layer, by name.
        norm: after the activation.
        dense_bias: whether the dense layer has one.
        output: the head that makes the logits; BERT's is ``{name: tied, bias: true}``.

    Shapes: (B, T, D) -> (B, T, V).
    """

    axes = {"dense": ("d_model", "d_model")}

    def __init__(
        self,
        d_model: int,
        vocab_size: int,
        embedding: nn.Module,
        *,
        activation: Literal["relu", "gelu", "gelu_tanh", "silu", "tanh"] = "gelu",
        norm: Maker["norm"] = "layer",
        dense_bias: bool = True,
        output: Maker["head"] = "tied",
    ) -> None:
        super().__init__()
        self.dense = Linear(d_model, d_model, bias=dense_bias)
        self.activation = ACTIVATIONS[activation]
        self.norm = make(norm, "norm", dim=d_model)
        self.output = make(output, "head", d_model=d_model, vocab_size=vocab_size, embedding=embedding)

    @property
    def splits(self) -> Mapping[str, int]:
        """As the output's: what comes before it is every piece's own to compute."""
        return self.output.splits

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        return self.output(self.norm(self.activation(self.dense(x))), info)
