"""Clark et al. 2020 (ELECTRA), arXiv:2003.10555, section 3.2; Lan et al. 2019 (ALBERT), arXiv:1909.11942, section 3.1, as released"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import Maker, SequenceInfo, make
from components.core.traits import biases, embeds, provides, rotates
from components.functional.dropout import dropout_of
from components.functional.linear import Linear
from components.parts.embedding.value_embeddings import ValueEmbeddings


@register("embedding", "projected")
class ProjectedEmbedding(nn.Module):
    """Projected embedding: another embedding of a width of its own, positions and a norm at that width, and one matrix from there to the model.

    Args:
        width: of what is projected; null: a quarter of d_model.
        inner: the embedding that is projected; its dropout comes after the norm.
        position: added to it, at its width; what the model has as ``position`` comes besides.
        norm: of the sum.
        bias: whether the matrix has one.

    Shapes: ids (B, T) -> (B, T, D).
    Errors: ValueError if ``inner`` has no table of ids, or writes vectors of its own width for layers to read; or if ``position`` adds nothing.

    Its rows have another width than the vectors that a head reads: the head that is tied to them is head/tied_factorised.
    """

    needs = {"inner": ("table",)}
    provides = ("narrow_table",)
    axes = {"up": ("latent", "d_model")}

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        context_length: int | None = None,
        n_layers: int | None = None,
        *,
        width: Positive | None = None,
        inner: Maker["embedding"] = "token",
        position: Maker["position"] = "none",
        norm: Maker["norm"] = "none",
        bias: bool = True,
    ) -> None:
        super().__init__()
        own = max(1, d_model // 4) if width is None else width
        length = {} if context_length is None else {"context_length": context_length}
        depth = {} if n_layers is None else {"n_layers": n_layers}
        self.inner = make(inner, "embedding", vocab_size=vocab_size, d_model=own, **length, **depth)
        if not provides(self.inner, "table"):
            raise ValueError(f"inner={type(self.inner).__name__} has no table of ids: use inner=token")
        if isinstance(self.inner, ValueEmbeddings):
            raise ValueError(
                f"inner=value_embeddings writes vectors of width {own}, and layers read {d_model}: use inner=token"
            )
        self.position = make(position, "position", d_model=own, **length)
        self.placed = embeds(self.position)
        if rotates(self.position) or biases(self.position):
            raise ValueError(f"position={type(self.position).__name__} is not added to an embedding: give it to the model")
        self.norm = make(norm, "norm", dim=own)
        self.up = Linear(own, d_model, bias=bias)

    @property
    def splits(self) -> Mapping[str, int]:
        """As the table's: what comes after it is every piece's own to compute."""
        return self.inner.splits

    @property
    def tokens(self) -> nn.Module:
        """The narrow table. Asked each time, since an adapter may stand in its place."""
        return self.inner.table  # type: ignore[return-value]  # what provides a table has it

    def forward(self, ids: Tensor, info: SequenceInfo | None = None) -> Tensor:
        x = self.inner(ids, info)
        if self.placed:
            x = self.position.embed(x, info)
        x = self.norm(x)
        if self.inner.dropout:
            x = dropout_of(x, self.inner.dropout, self.training)
        return self.up(x)
