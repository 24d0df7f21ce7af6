"""Press & Wolf 2016, arXiv:1608.05859; bias: Devlin et al. 2018 (BERT), arXiv:1810.04805; multiplier: Raffel et al. 2019 (T5), arXiv:1910.10683"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import SequenceInfo
from components.parts.head._tied import Tied


@register("head", "tied")
class TiedHead(Tied):
    """Tied head: the embedding's own matrix turns vectors back into logits.

    Args:
        bias: whether each logit has one, which is the head's own; "fixed": a number that is kept but not trained (BART's ``final_logits_bias``).
        soft_cap: c in c * tanh(logit / c), which keeps logits within (-c, c); null: none.
        multiplier: factor on the product, before the bias: a number, or "rsqrt" for 1 / sqrt(d_model).

    Shapes: (B, T, D) -> (B, T, V).
    Errors: ValueError where the embedding has no table, or one of another width than that of the vectors that the head reads.
    """

    needs = {"embedding": ("table",)}
    axes = {"bias": ("vocab",)}

    def __init__(
        self,
        d_model: int,
        vocab_size: int,
        embedding: nn.Module,
        *,
        bias: bool | Literal["fixed"] = False,
        soft_cap: PositiveFloat | None = None,
        multiplier: PositiveFloat | Literal["rsqrt"] = 1.0,
    ) -> None:
        super().__init__(vocab_size, embedding, bias, soft_cap, multiplier)
        if self.width != d_model:
            raise ValueError(
                f"head/tied reads vectors of width {d_model}, and the embedding's are {self.width} wide: use head=linear"
            )

    @property
    def table(self) -> nn.Module:
        return self.embedding.table  # type: ignore[return-value]  # what provides a table has it

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        return self.logits(x)
