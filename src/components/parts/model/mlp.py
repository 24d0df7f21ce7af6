"""A network of layers of units that reads the last few positions side by side, and nothing before them.

Rumelhart et al. 1986, doi:10.1038/323533a0; with a window over embedded tokens: Bengio et al. 2003, JMLR 3
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from components.core.model_tree import Printed
from components.core.registry import register
from components.core.signature import Positive, Probability
from components.core.sockets import Batch, Cache, Maker, SequenceInfo, Terms, batch_of, make, name_parts, terms_of
from components.core.weights import initialise
from components.functional.activations import UNITS, Unit
from components.functional.dropout import dropout_of
from components.functional.earlier import earlier
from components.functional.linear import Linear


@register("model", "mlp")
class MLPModel(Printed):
    """MLP: the vectors of a window of positions side by side, layers of units, and a head.

    With one position, embedding ``values`` and head ``classification`` it is a classifier of a table's rows; with a window over text it predicts the
    next token from the last ones. The window slides: decoding goes on beyond ``context_length``.

    Args:
        d_model: width of each position's vector.
        window: how many positions are read: this one and those before it in its document; zeros before the document begins.
        hidden: units of each hidden layer, from the input on; empty: the head reads the vectors themselves.
        activation: of every hidden unit, by name; step is a threshold unit, identity none at all.
        bias: whether hidden units have one.
        dropout: probability of dropping a hidden unit.
        context_length: longest sequence it is trained on.
        embedding: ids, or the numbers of a batch, to vectors.
        norm: of each hidden layer's sums, before the activation.
        head: the last layer's units to logits.
        init: how weights are drawn.

    Shapes: ids (B, T) -> logits (B, T, V), or what the head gives; with an objective, ``Terms``.
    Errors: ValueError for a layer without units.
    """

    provides = ("causal",)
    axes = {"layers": ("d_model", "state")}

    def __init__(
        self,
        vocab_size: int,
        *,
        d_model: Positive = 32,
        window: Positive = 1,
        hidden: tuple[int, ...] = (128,),
        activation: Unit = "relu",
        bias: bool = True,
        dropout: Probability = 0.0,
        context_length: Positive = 256,
        embedding: Maker["embedding"] = "token",
        norm: Maker["norm"] = "none",
        head: Maker["head"] = "linear",
        init: Maker["init"] = "kaiming",
    ) -> None:
        super().__init__()
        if any(width < 1 for width in hidden):
            raise ValueError(f"hidden={list(hidden)}: a layer has at least one unit; leave it out, or empty for none at all")
        self.vocab_size, self.context_length, self.d_model, self.window = vocab_size, context_length, d_model, window
        self.activation, self.dropout = UNITS[activation], dropout
        sizes = {"vocab_size": vocab_size, "d_model": d_model, "context_length": context_length}
        self.embedding = make(embedding, "embedding", **sizes)
        widths = [window * d_model, *hidden]
        self.layers = nn.ModuleList(Linear(a, b, bias=bias) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(make(norm, "norm", dim=width) for width in hidden)
        self.head = make(head, "head", d_model=widths[-1], vocab_size=vocab_size, embedding=self.embedding)
        name_parts(self)
        self.init = make(init, "init", d_model=d_model, n_layers=max(1, len(hidden)))
        initialise(self, self.init, seed=0)

    def forward(
        self, batch: Tensor | Batch, objective: Any = None, *, cache: Cache | None = None, last: bool = False
    ) -> Tensor | Terms:
        """Logits of every position (``last``: of the last alone), or what ``objective(hidden, head, batch)`` returns."""
        batch = batch_of(batch)
        info = SequenceInfo.of(batch, causal=True, cache=cache)
        if cache is not None:
            cache.open(info)
        x = self.embedding(batch.ids, info)
        if dropout := self.embedding.dropout:
            x = dropout_of(x, dropout, self.training)
        x = self._windows(x, info)
        for layer, norm in zip(self.layers, self.norms):
            x = self.activation(norm(layer(x)))
            x = dropout_of(x, self.dropout, self.training) if self.dropout else x
        if objective is None:
            return self.head(x[:, -1:] if last else x, info)
        return objective(x, partial(self.head, info=info), batch).merged(terms_of(info.out))

    def _windows(self, x: Tensor, info: SequenceInfo) -> Tensor:
        """(B, T, D) -> (B, T, window * D), the oldest position first."""
        if self.window == 1:
            return x
        state = None if info.cache is None else info.cache.slot(self).state
        return torch.cat([*reversed(earlier(x, info, self.window - 1, state)), x], -1)
