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
    Errors: ValueError where the embedding's vectors are of another width than those that the head reads.
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
        factor = d_model**-0.5 if multiplier == "rsqrt" else float(multiplier)
        super().__init__(vocab_size, embedding, bias, soft_cap, factor)
        if (width := self.table.embedding_dim) != d_model:  # type: ignore[operator]  # a number
            raise ValueError(
                f"head/tied reads vectors of width {d_model}, and the embedding's are {width} wide: use head=linear"
            )

    @property
    def table(self) -> nn.Module:
        return self.embedding.table  # type: ignore[return-value]  # what provides a table has it

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        return self.logits(x)
