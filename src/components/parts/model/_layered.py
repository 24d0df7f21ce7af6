"""What models of layers have in common: their width and depth, the parts that layers take from the model, and the way in."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from components.core.model_tree import Printed
from components.core.options import Options
from components.core.signature import Depth, Positive, Slices
from components.core.sockets import Batch, Cache, Maker, ScopedMaker, SequenceInfo, Terms, make, merge_out, name_parts, terms_of
from components.core.weights import initialise
from components.functional.dropout import dropout_of

if TYPE_CHECKING:
    from components.core.contracts import Embedding, Init, Stack


class Layered(Options, Printed):
    """A model of layers, which take from it what they do not choose themselves.

    Args:
        d_model: width of the stream.
        n_layers: depth.
        context_length: longest sequence it is trained on.
        position: where a token stands.
        attention: mixes positions.
        ffn: works on each position.
        norm: of blocks, and of every socket that inherits it.
        block: order of norms and branches.
        residual: how branches are written into the stream.
        embedding_norm: before the first layer.
        final_norm: after the last layer.
    """

    embedding: Embedding

    d_model: Positive = 256
    n_layers: Depth = 4
    context_length: Positive = 256
    position: Maker["position"] = "rope"
    attention: Maker["attention"] = "gqa"
    ffn: Maker["ffn"] = "mlp"
    norm: Maker["norm"] = "rms"
    block: Maker["block"] = "pre_norm"
    residual: Maker["residual"] = "add"
    embedding_norm: Maker["norm"] = "none"
    final_norm: Maker["norm"] = "inherit"

    def sockets(self) -> dict[str, Any]:
        """The makers that a stack inherits, while they are there: in ``__init__``."""
        return {
            "position": self.position,
            "attention": self.attention,
            "ffn": self.ffn,
            "norm": self.norm,
            "block": self.block,
            "residual": self.residual,
            "embedding_norm": self.embedding_norm,
            "final_norm": self.final_norm,
        }

    def enter(self, side: Stack, ids: Tensor, info: SequenceInfo) -> tuple[Tensor, SequenceInfo]:
        """What goes into the first layer of a stack, and the info with what the embedding wrote, which every layer may read."""
        x = self.embedding(ids, info)
        if info.out:
            info = info.with_(carry=info.out, out={})
        x = side.enter(x, info)
        dropout = self.embedding.dropout
        return (dropout_of(x, dropout, self.training) if dropout else x), info


class OneStack(Layered):
    """A model whose layers stand in one stack.

    Args:
        vocab_size: number of ids.
        embedding: ids to vectors.
        stack: how the layers are wired; it takes n_layers, pattern and layers from here.
        head: vectors to logits.
        init: how weights are drawn.
        pattern: names of entries that repeat over the depth.
        layers: parts of their own for some layers.

    Shapes: ids (B, T) -> logits (B, T, V); with an objective, ``Terms``.
    """

    per_layer = ("block", "attention", "ffn", "norm", "residual", "position")

    def __init__(
        self,
        vocab_size: int,
        *,
        embedding: Maker["embedding"] = "token",
        stack: Maker["stack"] = "layers",
        head: Maker["head"] = "linear",
        init: Maker["init"] = "depth_scaled",
        pattern: tuple[str, ...] = (),
        layers: Slices = None,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        d_model, depth = self.d_model, self.n_layers
        length = self.context_length
        widths = {"d_model": d_model, "context_length": length}
        self.embedding = make(embedding, "embedding", vocab_size=vocab_size, n_layers=depth, **widths)
        sizes = {**widths, "depth": depth, "entries": pattern, "slices": layers}
        self.stack = make(ScopedMaker(stack, self.sockets(), where="model.stack"), "stack", **sizes)
        self.head = make(head, "head", d_model=d_model, vocab_size=vocab_size, embedding=self.embedding)
        self.init = self.join(make(init, "init", d_model=d_model, n_layers=depth))
        name_parts(self)
        initialise(self, self.init, seed=0)

    def join(self, init: Init) -> Init:
        """What a model has besides, when the rest is there. Gives what draws all weights: ``init``, unless something else draws some."""
        return init

    def read(
        self, batch: Batch, objective: Any, *, causal: bool, cache: Cache | None = None, last: bool = False
    ) -> Tensor | Terms:
        """Logits of every position (``last``: of the last alone), or what ``objective(hidden, head, batch)`` and the layers return."""
        info = SequenceInfo.of(batch, causal=causal, cache=cache)
        if cache is not None:
            cache.open(info)
        x, info = self.enter(self.stack, batch.ids, info)
        hidden, out = self.stack(x, info)
        if objective is None:
            return self.head(hidden[:, -1:] if last else hidden, info)
        return objective(hidden, partial(self.head, info=info), batch).merged(terms_of(merge_out(info.carry, out)))
