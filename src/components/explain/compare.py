"""Two models on one text: what differs in their configs, and what came of it."""

from __future__ import annotations

from typing import Any

from components.compose.difference import difference

LEFT_OUT = ("paths.", "logger", "callbacks", "resume", "components", "recipe:")  # they change no number


def compared(traces: list[dict[str, Any]], configs: list[dict[str, Any]]) -> dict[str, Any]:
    """{difference: lines, facts: [{name, a, b}], tokens: [[text, p of a, p of b]]}."""
    a, b = traces
    lines = [line for line in difference(*configs) if not line.startswith(LEFT_OUT)]
    facts = [
        {"name": "parameters", "a": a["facts"]["parameters"], "b": b["facts"]["parameters"], "big": True},
        {"name": "memory of the weights", "a": a["facts"]["bytes"], "b": b["facts"]["bytes"], "bytes": True},
        {"name": "FLOPs per token", "a": a["facts"]["flops_per_token"], "b": b["facts"]["flops_per_token"], "big": True},
    ]
    tokens = []
    nats = [surprise(t) for t in traces]
    if all(n is not None for n in nats):
        facts.append({"name": "surprise per token of the prompt (nats)", "a": nats[0], "b": nats[1]})
    ids = [[x["id"] for x in t["tokens"]] for t in traces]
    both = next((i for i, (x, y) in enumerate(zip(*ids)) if x != y), min(map(len, ids)))
    given = min(both, *(t["given"] - t["first"] for t in traces))
    if [x["text"] for x in a["tokens"][:given]] == [x["text"] for x in b["tokens"][:given]] and a["first"] == b["first"]:
        for t in range(given - 1):
            p, q = (x["predictions"][t]["next"] if x["predictions"] else None for x in traces)
            if p and q:
                tokens.append([a["tokens"][t + 1]["text"], p["p"], q["p"]])
    for name in ("loss",):
        values = [(t["backward"] or {}).get(name) for t in traces]
        if all(v is not None for v in values):
            facts.append({"name": "loss of this text", "a": values[0], "b": values[1]})
    return {"difference": lines, "facts": facts, "tokens": tokens}


def surprise(trace: dict[str, Any]) -> float | None:
    """Mean -ln p of the prompt's tokens, those that begin every text left out."""
    import math

    known = [p["next"]["p"] for p in trace["predictions"][: max(0, trace["given"] - trace["first"] - 1)] if p["next"]]
    return -sum(map(math.log, known)) / len(known) if known and min(known) > 0 else None
