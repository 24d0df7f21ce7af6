"""One recurrence reads the source into a state, another writes from it, with or without attention to what was read.

Sutskever et al. 2014, arXiv:1409.3215; Cho et al. 2014, arXiv:1406.1078; attention: Bahdanau et al. 2015, arXiv:1409.0473, Luong et al. 2015
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from components.core.flops import Flops, Work, flops_of
from components.core.model_tree import Printed
from components.core.registry import register
from components.core.signature import Depth, Positive, Probability
from components.core.sockets import (
    Batch,
    Cache,
    Maker,
    Place,
    ScopedMaker,
    SequenceInfo,
    Terms,
    make,
    merge_out,
    name_parts,
    terms_of,
)
from components.core.weights import initialise
from components.functional.dropout import dropout_of
from components.functional.linear import Linear
from components.functional.recurrent import STATE, States, last_of


@register("model", "recurrent")
class Recurrent(Printed):
    """Recurrent encoder-decoder: all that the decoder knows of a source is what its reader had in mind at the end, unless there is a ``cross``.

    The decoder begins with the encoder's last state, and the head reads tanh(W [c; h]) of its hidden vector h and a context c: the encoder's last
    output, the same everywhere (Cho et al.), or with ``cross`` what each position reads of all outputs (Luong et al. 2015, arXiv:1508.04025,
    equation 5). Padding moves no state; where source and target are packed, a document begins with the state after its own source.

    Args:
        d_model: width of embedding and layers on both sides.
        n_layers: recurrences one over the other, as many on each side; each begins where its layer of the encoder ended.
        context_length: longest sequence on either side.
        embedding: ids to vectors, shared by both sides.
        attention: the recurrence: rnn, gru, lstm or slstm.
        cross: attention to the encoder's outputs; none: its last state and output alone.
        dropout: probability of dropping an entry between layers, and of what the head reads.
        head: vectors to logits.
        init: how weights are drawn.

    Shapes: ``Batch(ids (B, T), source=Batch(ids (B, S)))`` -> logits (B, T, V); with an objective, ``Terms``.
    Errors: ValueError for a mixer whose state cannot be handed on, or a cross that reads no memory.
    """

    provides = ("causal", "source")
    needs = {"attention": ("state",), "cross": ("memory|absent",)}
    axes = {"combine": ("d_model", "d_model")}

    def __init__(
        self,
        vocab_size: int,
        *,
        d_model: Positive = 256,
        n_layers: Depth = 1,
        context_length: Positive = 256,
        embedding: Maker["embedding"] = "token",
        attention: Maker["attention"] = "gru",
        cross: Maker["attention"] = "none",
        dropout: Probability = 0.0,
        head: Maker["head"] = "linear",
        init: Maker["init"] = "xavier",
    ) -> None:
        super().__init__()
        self.vocab_size, self.context_length, self.d_model, self.dropout = vocab_size, context_length, d_model, dropout
        sizes = {"d_model": d_model, "context_length": context_length}
        self.embedding = make(embedding, "embedding", vocab_size=vocab_size, **sizes)
        alone = {"position": "none"}  # a recurrence is told no positions, and those of two sequences cannot be compared
        recurrence = ScopedMaker(attention, alone, where="model.attention")
        sides = [[make(recurrence, "attention", **sizes, place=Place(i, n_layers)) for i in range(n_layers)] for _ in range(2)]
        self.encoder, self.decoder = map(nn.ModuleList, sides)
        if STATE not in sides[0][0].provides:
            raise ValueError(f"{type(sides[0][0]).__name__} hands no state on: use attention=rnn, gru, lstm or slstm")
        self.cross = make(
            ScopedMaker(cross, alone, where="model.cross"), "attention", **sizes, place=Place(0, 1), d_memory=d_model
        )
        self.attends = not self.cross.absent
        if self.attends and "memory" not in self.cross.provides:
            raise ValueError(f"{type(self.cross).__name__} reads no memory: use cross=mha, or none")
        self.combine = Linear(2 * d_model, d_model, bias=False)
        self.head = make(head, "head", d_model=d_model, vocab_size=vocab_size, embedding=self.embedding)
        name_parts(self)
        self.init = make(init, "init", d_model=d_model, n_layers=n_layers)
        initialise(self, self.init, seed=0)

    def flops(self, work: Work) -> Flops:
        """Of a source of ``work.memory`` positions (as many as the target if None) and a target of ``work.length``."""
        source = Work(work.length if work.memory is None else work.memory)
        target = Work(work.length, memory=source.length)
        total = flops_of(self.embedding, source) + flops_of(self.encoder, source)
        for part in (self.embedding, self.decoder, self.cross, self.combine, self.head):
            total += flops_of(part, target)
        return total

    def encode(self, source: Batch) -> tuple[Tensor, SequenceInfo, list[States]]:
        """Memory (B, S, D), the info that describes its positions, and each layer's states: the last ones, or where documents end all of them."""
        info = SequenceInfo.of(source, causal=True)
        x, states = self._embedded(source, info), []
        for i, cell in enumerate(self.encoder):
            x, after = _passed(cell, self._dropped(x) if i else x, info, ())
            states.append(last_of(after, info) if info.documents is None else after)
        return x, info, states

    def forward(self, batch: Batch, objective: Any = None, *, cache: Cache | None = None, last: bool = False) -> Tensor | Terms:
        """Logits of every target position, or ``Terms``. With a cache the source is read on the first call and remembered."""
        if not isinstance(batch, Batch) or (batch.source is None and cache is None):
            raise ValueError("a recurrent encoder-decoder reads a Batch with a source: Batch(ids, source=Batch(source_ids))")
        memo = cache.slot(self).state if cache is not None else {}
        if "encoded" not in memo:
            assert batch.source is not None
            memo["encoded"] = self.encode(batch.source)
        memory, memory_info, states = memo["encoded"]
        info = SequenceInfo.of(batch, causal=True, cache=cache).with_(memory=memory, memory_info=memory_info)
        if cache is not None:
            cache.open(info)
        x = self._embedded(batch, info)
        for i, (cell, ended) in enumerate(zip(self.decoder, states, strict=True)):
            begin = ended if memory_info.documents is None else last_of(ended, memory_info, info.documents)
            x, _ = _passed(cell, self._dropped(x) if i else x, info, begin)
        x = self._dropped(torch.tanh(self.combine(torch.cat((self._context(x, info), x), -1))))
        if objective is None:
            return self.head(x[:, -1:] if last else x, info)
        return objective(x, partial(self.head, info=info), batch).merged(terms_of(merge_out(memory_info.out, info.out)))

    def _context(self, x: Tensor, info: SequenceInfo) -> Tensor:
        """(B, T, D) what each position knows of the source besides the state with which its document began."""
        assert info.memory is not None
        assert info.memory_info is not None
        if self.attends:
            return self.cross(x, info)
        (context,) = last_of((info.memory,), info.memory_info, info.documents)
        return (context if context.dim() == 3 else context[:, None]).expand(*x.shape[:2], -1)

    def _embedded(self, batch: Batch, info: SequenceInfo) -> Tensor:
        x = self.embedding(batch.ids, info)
        dropout = self.embedding.dropout
        return dropout_of(x, dropout, self.training) if dropout else x

    def _dropped(self, x: Tensor) -> Tensor:
        return dropout_of(x, self.dropout, self.training) if self.dropout else x


def _passed(cell: nn.Module, x: Tensor, info: SequenceInfo, begin: States) -> tuple[Tensor, States]:
    """What the recurrence writes, and its states after each position (B, T, H), where documents begin with ``begin``; (): empty."""
    out: dict[str, Any] = {}
    y = cell(x, info.with_(carry={**info.carry, STATE: begin}, out=out))
    states = out.pop(STATE)
    info.out.update(merge_out(info.out, out))
    return y, states
