"""An encoder reads the source once, and every layer of the decoder attends to what it wrote.

Vaswani et al. 2017, arXiv:1706.03762
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from components.core.flops import Flops, Work, flops_of
from components.core.registry import register
from components.core.sockets import (
    Batch,
    Cache,
    Layer,
    Maker,
    ScopedMaker,
    SequenceInfo,
    Terms,
    make,
    merge_out,
    name_parts,
    terms_of,
)
from components.core.weights import initialise
from components.parts.model._layered import Layered


@register("model", "encoder_decoder")
class EncoderDecoder(Layered):
    """Encoder-decoder: both sides inherit from the model what they do not choose themselves (``model.encoder.n_layers=2``).

    Args:
        d_model: width of both streams.
        n_layers: depth of each side that does not say its own.
        context_length: longest sequence on either side.
        embedding: ids to vectors, shared by both sides.
        cross: the decoder's second attention; it reads the memory.
        embedding_norm: before the first layer of each side.
        final_norm: after the last layer of each side.
        encoder: the side that reads ``batch.source``.
        decoder: the side that writes.
        head: vectors to logits.
        init: how weights are drawn.

    Shapes: ``Batch(ids (B, T), source=Batch(ids (B, S)))`` -> logits (B, T, V); with an objective, ``Terms``.
    """

    provides = ("causal", "source")
    needs = {"decoder.cross": ("memory",)}  # what the decoder's layers have as `cross` reads an encoder's memory

    n_layers = 2
    position = "sinusoidal"
    norm = "layer"
    cross: Maker["attention"] = "inherit"

    def __init__(
        self,
        vocab_size: int,
        *,
        embedding: Maker["embedding"] = "token",
        encoder: Maker["stack"] = "layers",
        decoder: Maker["stack"] = "layers",
        head: Maker["head"] = "linear",
        init: Maker["init"] = "depth_scaled",
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        d_model, n_layers = self.d_model, self.n_layers
        widths = {"d_model": d_model, "context_length": self.context_length}
        self.embedding = make(embedding, "embedding", vocab_size=vocab_size, n_layers=n_layers, **widths)
        sockets = {**self.sockets(), "cross": self.cross}
        sizes = {**widths, "depth": n_layers}
        self.encoder = make(ScopedMaker(encoder, sockets, where="model.encoder"), "stack", **sizes)
        self.decoder = make(ScopedMaker(decoder, sockets, where="model.decoder"), "stack", **sizes, d_memory=d_model)
        self.head = make(head, "head", d_model=d_model, vocab_size=vocab_size, embedding=self.embedding)
        name_parts(self)
        # a side may have chosen its own depth; the deeper one decides how small the branches start
        deepest = max((m.place.count for m in self.modules() if isinstance(m, Layer)), default=n_layers)
        self.init = make(init, "init", d_model=d_model, n_layers=deepest)
        initialise(self, self.init, seed=0)

    def flops(self, work: Work) -> Flops:
        """Of a source of ``work.memory`` positions (as many as the target if None) and a target of ``work.length``."""
        source = work.length if work.memory is None else work.memory
        target = Work(work.length, causal=True, memory=source)
        read = Work(source, causal=False)
        total = flops_of(self.embedding, read) + flops_of(self.encoder, read)
        for part in (self.embedding, self.decoder, self.head):
            total += flops_of(part, target)
        return total

    def encode(self, source: Batch) -> tuple[Tensor, SequenceInfo, dict[str, Any]]:
        """Memory (B, S, D), the info that describes its positions, and what the encoder's layers wrote out."""
        info = SequenceInfo.of(source, causal=False)
        x, info = self.enter(self.encoder, source.ids, info)
        memory, out = self.encoder(x, info)
        return memory, info, merge_out(info.carry, out)

    def forward(self, batch: Batch, objective: Any = None, *, cache: Cache | None = None, last: bool = False) -> Tensor | Terms:
        """Logits of every target position, or ``Terms``. With a cache the source is read on the first call and remembered."""
        if not isinstance(batch, Batch) or (batch.source is None and cache is None):
            raise ValueError("an encoder-decoder reads a Batch with a source: Batch(ids, source=Batch(source_ids))")
        memo = cache.slot(self).state if cache is not None else {}
        if "encoded" not in memo:
            assert batch.source is not None
            memory, memory_info, encoder_out = self.encode(batch.source)
            # without what the encoder computed of the positions: tables and masks of (S, S) would live as long as the cache
            memo["encoded"] = memory, memory_info.with_(memo={}), encoder_out
        memory, memory_info, encoder_out = memo["encoded"]
        info = SequenceInfo.of(batch, causal=True, cache=cache).with_(memory=memory, memory_info=memory_info)
        if cache is not None:
            cache.open(info)
        x, info = self.enter(self.decoder, batch.ids, info)
        hidden, out = self.decoder(x, info)
        if objective is None:
            return self.head(hidden[:, -1:] if last else hidden, info)
        return objective(hidden, partial(self.head, info=info), batch).merged(
            terms_of(merge_out(merge_out(encoder_out, info.carry), out))
        )
