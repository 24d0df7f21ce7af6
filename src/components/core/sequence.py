"""What flows between parts: ``Batch`` into the model, ``SequenceInfo`` beside every vector, ``Terms`` out of it, ``Layer`` around each block.

Shapes: (B, T) tokens, (B, T, D) vectors, (B, H, T, K) heads. All three are frozen and registered pytrees: FSDP2 and compile see no other tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from components.core.draws import repeatable
from components.core.positions import count_positions
from components.core.recompute import Checkpointing, recomputed


@dataclass(frozen=True)
class Place:
    """Where a layer stands in depth: ``index`` of ``count``, from 0."""

    index: int
    count: int


@dataclass(frozen=True)
class Batch:
    """What the data side gives a model. Only ``ids`` is needed; None means: nothing special.

    Args:
        ids: (B, T) token ids.
        targets: (B, T) ids to predict, already shifted and never across documents; -100 where nothing is asked.
        weights: (B, T) weight of each target.
        positions: (B, T) place in its document, counting valid tokens only.
        documents: (B, T) number of the document within the row; positions of different documents never see one another.
        valid: (B, T) False on padding.
        token_types: (B, T) segment ids.
        source: what an encoder reads, for encoder-decoders.
        prefix: (B,) number of leading positions that every position sees.
        values: (B, T, F) numbers of each position, for embeddings that read them instead of ids (rows of a table, patches of a picture); ids are 0.
        reference: the log-probability that a reference model gives the targets: (B, 2) of documents 0 and 1 (losses over pairs), (B, T) of each (groups).
        baseline: (B,) the reward that such a loss takes for neither good nor bad.
        rewards, lengths: (B, G) of the row's answer, and after it of the other answers to the same prompt, for losses over groups; lengths in tokens.
        drawn: (B, T) the log-probability of each target when it was drawn, for losses over groups; None: the model has not changed since.
    """

    ids: Tensor
    targets: Tensor | None = None
    weights: Tensor | None = None
    positions: Tensor | None = None
    documents: Tensor | None = None
    valid: Tensor | None = None
    token_types: Tensor | None = None
    source: Batch | None = None
    prefix: Tensor | None = None
    values: Tensor | None = None
    reference: Tensor | None = None
    baseline: Tensor | None = None
    rewards: Tensor | None = None
    lengths: Tensor | None = None
    drawn: Tensor | None = None

    def to(self, *args: Any, **kwargs: Any) -> Batch:
        """Every tensor moved, as ``Tensor.to``."""
        return self._each(lambda x: x.to(*args, **kwargs))

    def pin_memory(self) -> Batch:
        return self._each(lambda x: x.pin_memory())

    def _each(self, change: Callable[[Any], Any]) -> Batch:
        return replace(self, **{n: change(v) for n, v in vars(self).items() if v is not None})


MEMO_DEPENDS_ON = frozenset(("ids", "positions", "documents", "valid", "token_types", "prefix", "causal"))


@dataclass(frozen=True)
class SequenceInfo:
    """The only side channel between a model and its parts; ``part(x, info)``.

    Args:
        ids: (B, T) token ids of these positions, where there are ids.
        positions: (B, T) or (1, T), restart per document, count valid tokens only.
        documents, valid: (B, T) or None: all one document, all valid.
        token_types: (B, T) or None.
        memory: (B, S, D) what an encoder wrote; ``memory_info`` describes its positions.
        causal: no position sees a later one.
        prefix: (B,) number of leading positions that everyone sees, or None.
        values: (B, T, F) numbers of these positions, or None.
        cache: what decoding keeps, or None.
        visit: how often this forward has passed through the same layer before (looped layers).
        carry: what earlier layers wrote to ``out``, by name; the newest wins.
        out: opened fresh by each Layer, returned by it. ``loss.<name>`` -> (sum, weight), ``stat.<part path>.<name>`` -> sum.
        memo: tensors without gradient that depend on this info alone, computed once per forward; never needed for correctness.
    """

    ids: Tensor | None = None
    positions: Tensor | None = None
    documents: Tensor | None = None
    valid: Tensor | None = None
    token_types: Tensor | None = None
    memory: Tensor | None = None
    memory_info: SequenceInfo | None = None
    causal: bool = True
    prefix: Tensor | None = None
    values: Tensor | None = None
    cache: Cache | None = None
    visit: int = 0
    carry: dict[str, Any] = field(default_factory=dict)
    out: dict[str, Any] = field(default_factory=dict)
    memo: dict[Any, Any] = field(default_factory=dict)

    def once(self, key: Any, compute: Callable[[], Any]) -> Any:
        """``compute()``, at most once per forward for each ``key``. Only for what needs no gradient."""
        if key not in self.memo:
            with torch.no_grad():
                self.memo[key] = compute()
        return self.memo[key]

    def placed(self) -> Tensor:
        """``positions``. ValueError where there are none: a part that was called by hand."""
        if self.positions is None:
            raise ValueError("this info has no positions: SequenceInfo.of(Batch(ids), causal=True) counts them")
        return self.positions

    def with_(self, **changes: object) -> SequenceInfo:
        """A copy with these fields changed; what was computed from fields that change is not taken along."""
        if not MEMO_DEPENDS_ON.isdisjoint(changes):
            changes.setdefault("memo", {})
        if torch.compiler.is_compiling():
            return replace(self, **changes)
        # every layer makes one for every token of a decoding: this takes a fifth of the time of dataclasses.replace
        copy = object.__new__(SequenceInfo)
        copy.__dict__.update(self.__dict__, **changes)
        return copy

    @classmethod
    def of(cls, batch: Batch, *, causal: bool, cache: Cache | None = None) -> SequenceInfo:
        """Positions that the data side did not give are counted here: valid tokens of the same document before this one."""
        positions = batch.positions
        if positions is None:
            positions = count_positions(batch.ids, batch.documents, batch.valid)
            if cache is not None and cache.length:
                if cache.uneven or batch.valid is not None or batch.documents is not None:
                    raise ValueError("padding or documents, cached or new: give positions, a cache cannot count them")
                positions = positions + cache.length
        given = (batch.ids, positions, batch.documents, batch.valid, batch.token_types)
        return cls(*given, causal=causal, prefix=batch.prefix, values=batch.values, cache=cache)


Info: TypeAlias = SequenceInfo | None  # None where a part is called by hand


@dataclass(frozen=True)
class Terms:
    """What training sums: ``losses`` = {name: (sum, weight)} in fp32, ``stats`` = {"part path.name": sum}.

    Means are taken once, as the sum of sums over the sum of weights, over micro-batches and ranks. ``aim``: each loss's factor in the total.
    """

    losses: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    stats: dict[str, Tensor] = field(default_factory=dict)
    aim: dict[str, float] = field(default_factory=dict)

    def merged(self, other: Terms) -> Terms:
        return Terms({**self.losses, **other.losses}, {**self.stats, **other.stats}, {**self.aim, **other.aim})


pytree.register_dataclass(Batch, field_names=[f.name for f in fields(Batch)])
pytree.register_dataclass(SequenceInfo, field_names=[f.name for f in fields(SequenceInfo)])
# ``aim`` is context and no leaf: a function of tensors mapped over terms meets tensors alone, and the factors stay
pytree.register_pytree_node(
    Terms,
    lambda terms: ([terms.losses, terms.stats], tuple(terms.aim.items())),
    lambda children, aim: Terms(*children, dict(aim)),  # type: ignore[misc]  # torch types children as Any
    serialized_type_name="components.core.sockets.Terms",
)


class Slot(Protocol):
    """One module's place in a cache. ``state`` holds recurrent state, token shifts and encoder memory by name."""

    state: dict[str, Any]

    def append(self, k: Tensor, v: Tensor, info: SequenceInfo) -> tuple[Tensor, Tensor, SequenceInfo]:
        """Store keys and values (B, H, T, K) of these positions; give all stored ones in time order, and the info that describes them."""
        ...


class Cache(Protocol):
    """What decoding keeps of the positions already seen. ``length``: positions stored so far, padding included.
    ``uneven``: some of them are padding or have documents, so that ``length`` does not tell the next position."""

    length: int
    uneven: bool

    def open(self, info: SequenceInfo) -> None: ...  # by the model, once per forward
    def slot(self, module: nn.Module, visit: int = 0) -> Slot: ...
    def reorder(self, rows: Tensor) -> None: ...  # row i becomes what row rows[i] was (beam search)
    def snapshot(self) -> Any: ...
    def restore(self, snapshot: object) -> None: ...
    def bytes(self) -> int: ...


class Layer(nn.Module):
    """Block and place: the one unit of FSDP2, activation checkpointing and compile.

    ``forward(s, info) -> (s, out)``: what leaves besides the stream is returned, so that hooks and recomputation see it.
    ``checkpointing``: set by whoever trains; recomputes the block in the backward pass, all of it or (``selective``) all but products of matrices.
    """

    def __init__(self, block: nn.Module, place: Place) -> None:
        super().__init__()
        self.block, self.place = block, place
        self.checkpointing: Checkpointing = False

    def forward(self, s: Tensor, info: SequenceInfo) -> tuple[Tensor, dict[str, Any]]:
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return recomputed(self.checkpointing, repeatable(self._run), s, info)
        return self._run(s, info)

    def _run(self, s: Tensor, info: SequenceInfo) -> tuple[Tensor, dict[str, Any]]:
        out: dict[str, Any] = {}
        apart = self.checkpointing and torch.compiler.is_compiling()  # what writes to a shared memo would stay eager
        return self.block(s, info.with_(out=out, memo=dict(info.memo) if apart else info.memo)), out


def terms_of(out: dict[str, Any]) -> Terms:
    """The losses and statistics among what layers wrote, merged: of ``loss.<name>`` the layers' means, ``stat.<path>.<name>`` is kept apart."""
    losses = {k.removeprefix("loss."): v for k, v in out.items() if k.startswith("loss.")}
    stats = {k.removeprefix("stat."): v for k, v in out.items() if k.startswith("stat.")}
    return Terms(losses, stats, {n: 1.0 for n in losses})


def merge_out(total: dict[str, Any], out: dict[str, Any]) -> dict[str, Any]:
    """``total`` with a layer's ``out``: means of losses and statistics add up, anything else is replaced by the newest."""
    merged = dict(total)
    for key, value in out.items():
        if key.startswith("loss.") and key in merged:
            # each layer has one of its own, as published factors mean it (docs/decisions/losses-of-layers-add-up.md)
            (whole, weight), (more, own) = merged[key], value
            merged[key] = (whole + more * (weight / own.clamp(min=1e-9)), weight)
        elif key.startswith("stat.") and key in merged:
            merged[key] = merged[key] + value
        else:
            merged[key] = value
    return merged
