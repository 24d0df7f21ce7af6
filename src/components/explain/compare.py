"""Two models on one text: what differs in their configs, and in what they make of the text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from components.compose.difference import difference
from components.explain.subject import Config
from components.explain.trace import Comparison, Fact, Trace

LEFT_OUT = ("paths.", "logger", "callbacks", "resume", "components", "recipe:")  # they change no number


def compared(traces: Sequence[Trace], configs: Sequence[Config]) -> Comparison:
    """What differs between two models. ``configs`` are theirs, spelled out."""
    a, b = traces
    lines = [line for line in difference(*configs) if not line.startswith(LEFT_OUT)]
    facts = [
        Fact("parameters", a.facts.parameters, b.facts.parameters, big=True),
        Fact("memory of the weights", a.facts.bytes, b.facts.bytes, bytes=True),
        Fact("FLOPs per token", a.facts.flops_per_token, b.facts.flops_per_token, big=True),
    ]
    tokens = []
    nats_a, nats_b = nats_per_token(a), nats_per_token(b)
    if nats_a is not None and nats_b is not None:
        facts.append(Fact("surprise per token of the prompt (nats)", nats_a, nats_b))
    ids = [[x.id for x in t.tokens] for t in traces]
    both = next((i for i, (x, y) in enumerate(zip(*ids)) if x != y), min(map(len, ids)))
    given = min(both, *(t.given - t.first for t in traces))
    if [x.text for x in a.tokens[:given]] == [x.text for x in b.tokens[:given]] and a.first == b.first:
        for t in range(given - 1):
            p, q = (x.predictions[t].next if x.predictions else None for x in traces)
            if p and q:
                tokens.append((a.tokens[t + 1].text, p.p, q.p))
    if a.backward is not None and b.backward is not None:
        facts.append(Fact("loss of this text", a.backward.loss, b.backward.loss))
    return Comparison(lines, facts, tokens)


def nats_per_token(trace: Trace) -> float | None:
    """Mean -ln p of the prompt's tokens, without those that begin every text."""
    known = [p.next.p for p in trace.predictions[: max(0, trace.given - trace.first - 1)] if p.next]
    return -sum(map(math.log, known)) / len(known) if known and min(known) > 0 else None
