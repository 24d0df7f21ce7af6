"""How likely a model finds continuations of contexts, both given as ids. What several continuations have in common is read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from components.core.makers import make
from components.core.sockets import Batch
from components.core.traits import turning_points
from components.corpus.tokens import Tokens
from components.generation.generating import restrict_vocab, together
from components.parts.decoding._loop import evaluating

READ = 4096  # positions of a batch that have logits, padding included
KEPT = 4 * READ  # positions that the cache of a batch holds
CACHE = {"name": "growing"}  # exact, whichever the run writes with

Ids = list[int]
T = TypeVar("T")


class Likelihood(NamedTuple):
    """``log_probability``: in nats, of all ids of a continuation; ``greedy``: whether each of them is the likeliest."""

    log_probability: float
    greedy: bool


@dataclass
class Context:
    """Ids that are read once, and the continuations that follow them: {ids: numbers of the questions that ask for them}."""

    ids: Ids
    after: dict[tuple[int, ...], list[int]] = field(default_factory=dict)

    @property
    def longest(self) -> int:
        return max(map(len, self.after))


@torch.inference_mode()
def likelihoods(
    model: nn.Module,
    tokenizer: Tokens,
    pairs: Sequence[tuple[Ids, Ids]],
    limit: int,
    seen: Callable[[int], None] = lambda _: None,
) -> list[Likelihood]:
    """The likelihood of each pair's continuation after its context. A pair of more than ``limit`` + 1 ids loses the first ones of its context.

    Args:
        model: a causal decoder of tokens.
        pairs: (context, continuation), neither empty, the continuation of at most ``limit`` ids.
        limit: the model's context, in ids.
        seen: called with how many more pairs are done.
    """
    found: list[Likelihood | None] = [None] * len(pairs)
    contexts: dict[tuple[int, ...], Context] = {}
    for number, (before, after) in enumerate(pairs):
        ids = before[max(0, len(before) + len(after) - limit - 1) :]
        context = contexts.setdefault(tuple(ids), Context(ids))
        context.after.setdefault(tuple(after), []).append(number)
    # a context whose length turns all earlier angles is read with each of its continuations
    alone = bool(turning_points(model.modules()))
    shared = [c for c in contexts.values() if not alone and (len(c.after) > 1 or c.longest == 1)]
    kept = {id(c) for c in shared}
    single = [Context(c.ids, {a: n}) for c in contexts.values() if id(c) not in kept for a, n in c.after.items()]
    with evaluating(model):
        device, limited = next(model.parameters()).device, restrict_vocab(model, tokenizer)
        for read, some in [
            *((_after_contexts, s) for s in batches(shared, lambda c: len(c.ids) + c.longest, lambda c: len(c.after), KEPT)),
            *((_in_one_pass, s) for s in batches(single, lambda c: len(c.ids) + c.longest, lambda _: 1, READ)),
        ]:
            for numbers, likelihood in read(limited, some, device):
                for number in numbers:
                    found[number] = likelihood
                seen(len(numbers))
    assert all(f is not None for f in found)
    return [f for f in found if f is not None]


def _in_one_pass(model: nn.Module, contexts: Sequence[Context], device: torch.device) -> Iterator[tuple[list[int], Likelihood]]:
    """Of contexts with one continuation each: both are read together."""
    rows = [(c.ids, *next(iter(c.after.items()))) for c in contexts]
    logits = model(together([[*before, *after[:-1]] for before, after, _ in rows], device, left=False))
    for own, (before, after, numbers) in zip(logits, rows):
        first = len(before) - 1
        yield numbers, _of(own[first : first + len(after)], after)


def _after_contexts(
    model: nn.Module, contexts: Sequence[Context], device: torch.device
) -> Iterator[tuple[list[int], Likelihood]]:
    """Of contexts with several continuations: each context is read once into a cache, which gets a row for each continuation."""
    cache = make(CACHE, "cache")
    first = model(together([c.ids for c in contexts], device, left=True), cache=cache, last=True)[:, -1]
    rows = [(number, after, asked) for number, c in enumerate(contexts) for after, asked in c.after.items()]
    longer = [(number, after) for number, after, _ in rows if len(after) > 1]
    rest: Iterator[Tensor] = iter(())
    if longer:
        cache.reorder(torch.tensor([number for number, _ in longer], device=device))
        tails = together([[*after[:-1]] for _, after in longer], device, left=False)
        starts = torch.tensor([len(contexts[number].ids) for number, _ in longer], device=device)
        positions = starts[:, None] + torch.arange(tails.ids.shape[1], device=device)
        rest = iter(model(Batch(tails.ids, valid=tails.valid, positions=positions), cache=cache))
    for number, after, asked in rows:
        own = first[number][None]
        yield asked, _of(own if len(after) == 1 else torch.cat([own, next(rest)[: len(after) - 1]]), after)


def _of(logits: Tensor, ids: Sequence[int]) -> Likelihood:
    """Of ids after logits (T, V)."""
    right = torch.tensor(ids, device=logits.device)
    logs = logits.float().log_softmax(-1).gather(1, right[:, None])
    return Likelihood(float(logs.sum()), bool((logits.argmax(-1) == right).all()))


def batches(items: Sequence[T], length: Callable[[T], int], rows: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Items together whose rows, padded to the longest, have at most ``most`` positions; an item that has more is alone. The longest come first."""
    some: list[T] = []
    n, wide = 0, 0
    for item in sorted(items, key=length, reverse=True):
        if some and (n + rows(item)) * wide > most:
            yield some
            some, n = [], 0
        wide = wide if some else length(item)
        some.append(item)
        n += rows(item)
    if some:
        yield some
