"""Decoding with a cache equals the full pass: token by token, in chunks, with padding and documents, after going back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from components import build
from components.check.cases import Violation, holds
from components.check.host import LENGTH, ON_PATH, VOCAB, Host, ids
from components.check.isolation import same
from components.check.values import tensors
from components.core.sockets import Cache
from components.core.traits import bounded
from components.parts.cache._slots import Slots

KINDS = (*ON_PATH, "cache")


def decodes(host: Host) -> bool:
    return host.causal and not host.pooled


def property_of(
    name: str, lack: str = "cacheable", applies: Callable[[Host], bool] = decodes
) -> Callable[[Callable[[Host], None]], Callable[[Host], None]]:
    return holds(name, *KINDS, lack=lack, applies=applies)


def empty(host: Host) -> Cache:
    s = host.subject
    if s.kind != "cache":
        return build("cache", "growing")
    options = {k: v for k, v in s.maker.items() if k != "name"} if isinstance(s.maker, dict) else {}
    return build("cache", s.maker["name"], **options) if isinstance(s.maker, dict) else s.maker()


def chunks(length: int, size: int) -> Iterator[slice]:
    return (slice(i, min(i + size, length)) for i in range(0, length, size))


def in_pieces(host: Host, size: int, said: str, length: int = LENGTH) -> None:
    model, values = host.model(), ids(length=length)
    cache = empty(host)
    steps = [host.run(model, values[:, c], cache=cache) for c in chunks(length, size)]
    same(torch.cat(steps, 1), host.run(model, values), said + ", position {} differs by {} from the full pass")


@property_of("cached token by token equals the full pass")
def token_by_token(host: Host) -> None:
    in_pieces(host, 1, "token by token")


@property_of("cached in chunks equals the full pass")
def in_chunks(host: Host) -> None:
    in_pieces(host, 5, "in chunks of 5")


@property_of("cached with left padding equals the full pass")
def with_left_padding(host: Host) -> None:
    model, values = host.model(), ids()
    valid = torch.ones_like(values, dtype=torch.bool)
    valid[0, :3] = False
    positions = (valid.long().cumsum(1) - 1).clamp(min=0)
    whole = host.run(model, host.batch(values, valid=valid, positions=positions))
    cache = empty(host)
    cuts = [slice(0, 6), *(slice(i, i + 1) for i in range(6, LENGTH))]
    steps = [host.run(model, host.batch(values[:, c], valid=valid[:, c], positions=positions[:, c]), cache=cache) for c in cuts]
    shown = valid[..., None]
    same(
        torch.cat(steps, 1) * shown, whole * shown, "with three padded positions, position {} differs by {} from the full pass"
    )


@property_of(
    "cached with documents equals the full pass", applies=lambda host: decodes(host) and "documents" not in host.subject.lacks
)
def with_documents(host: Host) -> None:
    model, values = host.model(), ids()
    documents = torch.tensor([[0] * 4 + [1] * 3 + [2] * 5, [0] * 7 + [1] * 5])
    positions = torch.tensor([[*range(4), *range(3), *range(5)], [*range(7), *range(5)]])
    whole = host.run(model, host.batch(values, documents=documents, positions=positions))
    cache = empty(host)
    steps = [
        host.run(model, host.batch(values[:, c], documents=documents[:, c], positions=positions[:, c]), cache=cache)
        for c in (slice(0, 6), slice(6, 7), slice(7, 8), slice(8, LENGTH))
    ]
    same(torch.cat(steps, 1), whole, "with documents, position {} differs by {} from the full pass")


@property_of("cache goes back and changes rows")
def goes_back(host: Host) -> None:
    model, values, other = host.model(), ids(), ids(seed=4)
    whole, cache = host.run(model, values), empty(host)
    host.run(model, values[:, :5], cache=cache)
    kept = cache.snapshot()
    for c in (slice(5, 6), slice(6, 9)):
        host.run(model, other[:, c], cache=cache)
    cache.restore(kept)
    again = host.run(model, values[:, 5:9], cache=cache)
    same(again, whole[:, 5:9], "after restore, position {} of what follows differs by {} from the full pass")
    rows = torch.tensor([1, 0, 1])
    cache.reorder(rows.to(host.device))
    last = host.run(model, values[rows, 9:], cache=cache)
    same(last, whole[rows, 9:], "after reorder, position {} of what follows differs by {} from the full pass")


@property_of(
    "cached beyond the context equals the full pass",
    lack="exact_cache_beyond_context",
    applies=lambda host: decodes(host) and "cacheable" not in host.subject.lacks,
)
def beyond_the_context(host: Host) -> None:
    """A ``bounded`` part has no output beyond the context. It must raise an error instead of returning something."""
    length = LENGTH + 8
    if not bounded(host.build().modules()):
        return in_pieces(host, 1, f"beyond the context of {LENGTH}", length=length)
    model, cache, values = host.model(), empty(host), ids(length=length)
    for calls in ([slice(0, length)], chunks(length, 1)):
        try:
            for c in calls:
                host.run(model, values[:, c], **({} if c.stop - c.start == length else {"cache": cache}))
        except ValueError:
            continue
        raise Violation(f"it is bounded, and gives something for position {length - 1} of a context of {LENGTH}")


@holds("says how much memory it takes", "cache")
def says_its_memory(host: Host) -> None:
    cache, model = empty(host), host.model()
    before = cache.bytes()
    host.run(model, ids(), cache=cache)
    if not cache.bytes() > before:
        raise Violation(f"{cache.bytes()} bytes after {LENGTH} positions, {before} before")


@holds("draws no gradient into the cache", "cache")
def keeps_no_graph(host: Host) -> None:
    model, cache = host.model(), empty(host)
    model(host.batch(ids()), cache=cache)
    out = model(host.batch(ids()[:, :1] % VOCAB), cache=cache)
    stored: list[Tensor] = [
        x
        for slot in (cache._slots.values() if isinstance(cache, Slots) else ())
        for x in tensors(slot.state)
        if x.requires_grad
    ]
    if stored or not tensors(out):
        raise Violation(f"{len(stored)} stored tensors hold a graph")
