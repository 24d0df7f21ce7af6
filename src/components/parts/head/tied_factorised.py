"""Lan et al. 2019 (ALBERT), arXiv:1909.11942, section 3.1; in a decoder: Zhang et al. 2022 (OPT, the model with 350M), arXiv:2205.01068; activation and norm: Clark
et al. 2020 (ELECTRA), arXiv:2003.10555, as released
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import Maker, SequenceInfo, make
from components.functional.activations import ACTIVATIONS, Activation
from components.functional.linear import Linear
from components.parts.head._tied import Tied


@register("head", "tied_factorised")
class TiedFactorisedHead(Tied):
    """Factorised tied head: one matrix takes vectors to the width of the embedding's table, which turns them back into logits.

    Args:
        down_bias: whether the matrix to that width has one.
        activation: after that matrix, by name.
        norm: after the activation.
        bias: whether each logit has one, which is the head's own; "fixed": a number that is kept but not trained.
        soft_cap: c in c * tanh(logit / c), which keeps logits within (-c, c); null: none.
        multiplier: factor on the product, before the bias: a number, or "rsqrt" for 1 / sqrt(width of the table).

    Shapes: (B, T, D) -> (B, T, V).
    Errors: ValueError where the embedding has no narrow table.
    """

    needs = {"embedding": ("narrow_table",)}
    axes = {"down": ("d_model", "latent"), "bias": ("vocab",)}

    def __init__(
        self,
        d_model: int,
        vocab_size: int,
        embedding: nn.Module,
        *,
        down_bias: bool = False,
        activation: Activation = "identity",
        norm: Maker["norm"] = "none",
        bias: bool | Literal["fixed"] = False,
        soft_cap: PositiveFloat | None = None,
        multiplier: PositiveFloat | Literal["rsqrt"] = 1.0,
    ) -> None:
        super().__init__(vocab_size, embedding, bias, soft_cap, multiplier)
        self.down = Linear(d_model, self.width, bias=down_bias)
        self.activation = ACTIVATIONS[activation]
        self.norm = make(norm, "norm", dim=self.width)

    @property
    def table(self) -> nn.Module:
        return self.embedding.tokens  # type: ignore[return-value]  # what provides a narrow table has it

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        return self.logits(self.norm(self.activation(self.down(x))))
