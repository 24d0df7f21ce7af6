"""Decoder: a causal language model, ids -> logits of the next token.

Liu et al. 2018, arXiv:1801.10198; Radford et al. 2018 (GPT)
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Depth, Positive, Slices
from components.core.sockets import Batch, Bound, Cache, Maker, SequenceInfo, Terms, make, merge_out, name_parts, terms_of
from components.core.weights import initialise


@register("model", "decoder")
class Decoder(nn.Module):
    """Decoder: a causal language model.

    Args:
        d_model: width of the stream.
        n_layers: depth.
        context_length: longest sequence it is trained on.
        embedding: ids to vectors.
        position: where a token stands.
        attention: mixes positions.
        ffn: works on each position.
        norm: of blocks, and of every socket that inherits it.
        block: order of norms and branches.
        residual: how branches are written into the stream.
        embedding_norm: before the first layer.
        final_norm: after the last layer.
        stack: how the layers are wired; it takes n_layers, pattern and layers from here.
        head: vectors to logits.
        init: how weights are drawn.
        pattern: names of entries that repeat over the depth.
        layers: parts of their own for some layers.

    Shapes: ids (B, T) -> logits (B, T, V); with an objective, ``Terms``.
    """

    per_layer = ("block", "attention", "ffn", "norm", "residual", "position")
    provides = ("causal",)

    def __init__(
        self,
        vocab_size: int,
        *,
        d_model: Positive = 256,
        n_layers: Depth = 4,
        context_length: Positive = 256,
        embedding: Maker["embedding"] = "token",
        position: Maker["position"] = "rope",
        attention: Maker["attention"] = "gqa",
        ffn: Maker["ffn"] = "mlp",
        norm: Maker["norm"] = "rms",
        block: Maker["block"] = "pre_norm",
        residual: Maker["residual"] = "add",
        embedding_norm: Maker["norm"] = "none",
        final_norm: Maker["norm"] = "inherit",
        stack: Maker["stack"] = "layers",
        head: Maker["head"] = "linear",
        init: Maker["init"] = "depth_scaled",
        pattern: tuple[str, ...] = (),
        layers: Slices = None,
    ) -> None:
        super().__init__()
        self.vocab_size, self.context_length, self.d_model = vocab_size, context_length, d_model
        self.embedding = make(embedding, "embedding", vocab_size=vocab_size, d_model=d_model)
        sockets = {"position": position, "attention": attention, "ffn": ffn, "norm": norm, "block": block, "residual": residual}
        sockets |= {"embedding_norm": embedding_norm, "final_norm": final_norm}
        sizes = {"d_model": d_model, "context_length": context_length, "depth": n_layers, "entries": pattern, "slices": layers}
        self.stack = make(Bound(stack, sockets, where="model.stack"), "stack", **sizes)
        self.head = make(head, "head", d_model=d_model, vocab_size=vocab_size, embedding=self.embedding)
        name_parts(self)
        self.init = make(init, "init", d_model=d_model, n_layers=n_layers)
        initialise(self, self.init, seed=0)

    def forward(
        self, batch: Tensor | Batch, objective: Any = None, *, cache: Cache | None = None, last: bool = False
    ) -> Tensor | Terms:
        """Logits of every position (``last``: of the last alone), or what ``objective(hidden, head, batch)`` and the layers return."""
        batch = batch if isinstance(batch, Batch) else Batch(batch)
        info = SequenceInfo.of(batch, causal=True, cache=cache)
        if cache is not None:
            cache.open(info)
        x = self.embedding(batch.ids, info)
        if info.out:  # what the embedding wrote, every layer may read
            info = info.with_(carry=info.out, out={})
        x = self.stack.enter(x, info)
        if dropout := self.embedding.dropout:
            x = F.dropout(x, dropout, self.training)
        hidden, out = self.stack(x, info)
        if objective is None:
            return self.head(hidden[:, -1:] if last else hidden, info)
        return objective(hidden, partial(self.head, info=info), batch).merged(terms_of(merge_out(info.carry, out)))
