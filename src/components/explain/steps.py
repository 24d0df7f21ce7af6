"""From logits to a token: probabilities, what each sampler keeps, and where the drawn number fell."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from components.core.config_types import part_name
from components.core.makers import make
from components.corpus.special_ids import stop_ids
from components.explain.asking import Asked
from components.explain.subject import Config, Subject
from components.explain.trace import Candidate, Follower, Generation, Prediction, Stage, Step

TOP = 10


def top_of(logits: Tensor, count: int = TOP) -> list[Candidate]:
    """The likeliest tokens of (V,) logits, the most likely first; those without any probability are left out."""
    p = logits.double().softmax(-1)
    values, found = p.topk(min(count, p.shape[-1]))
    return [Candidate(int(i), float(logits[i]), float(v)) for v, i in zip(values, found) if v > 0]


def predictions(logits: Tensor, asked: Asked) -> list[Prediction]:
    """For each position: the likeliest tokens, and the token that does follow, with its rank and probability."""
    ids = asked.ids
    rows = []
    for t, row in enumerate(logits):
        p = row.double().softmax(-1)
        entropy = float(-(p * p.clamp(min=1e-300).log()).sum())
        follows = ids[t + 1] if t + 1 < len(ids) and not asked.why_not else None
        known = None
        if follows is not None:
            rank = int((p > p[follows]).sum()) + 1
            known = Follower(follows, float(row[follows]), float(p[follows]), rank)
        rows.append(Prediction(top_of(row), known, entropy, float(row.max()), float(row.double().logsumexp(-1))))
    return rows


def steps(subject: Subject, asked: Asked, logits: Tensor) -> Generation | None:
    """Each token that the model wrote: what was left after each sampler, and what was drawn. None where it continues no text.

    ``logits`` (T, V) are those of the whole row: with a cache they are the same up to rounding.
    """
    if not asked.writes:
        return None
    decoding = make(subject.config["decoding"], "decoding")
    samplers = list(decoding.samplers or ())
    node = subject.config["decoding"]
    names = [_readable_node(s) for s in (node.get("samplers") or [])] if samplers else []
    logits = logits[:, : subject.tokenizer.vocab_size]
    draws = _draws(asked, node)
    ids = torch.tensor([asked.ids])
    found = []
    last = ids.shape[1] if not asked.ended else ids.shape[1] + 1  # the end that it chose stands in no text
    for end in range(asked.given, last):
        row = logits[None, end - 1].float()
        chosen = int(ids[0, end]) if end < ids.shape[1] else None
        stages = [_stage("the model's own probabilities", row[0], chosen)]
        for name, sampler in zip(names, samplers, strict=False):
            row = sampler(row, ids[:, :end], None)
            stages.append(_stage(name, row[0], chosen))
        step = Step(end - 1, chosen, stages)
        if draws is not None:
            u = float(draws(end - asked.given)[0])
            step.drawn = u
            total = row[0].softmax(-1, dtype=torch.float64).cumsum(-1)
            at = int((total > u * total[-1]).int().argmax())
            step.from_, step.to = float(total[at - 1]) if at else 0.0, float(total[at])
            step.fell_on = at
            if chosen is None and at in stop_ids(subject.tokenizer):
                step.chosen = at
        elif chosen is None:
            step.chosen = int(row[0].argmax())
        found.append(step)
    return Generation(part_name(node), asked.seed, found, asked.ended)


def _stage(name: str, logits: Tensor, chosen: int | None) -> Stage:
    p = logits.double().softmax(-1)
    kept = int((p > 0).sum())
    own = None if chosen is None else float(p[chosen])
    return Stage(name, kept, p.shape[-1], top_of(logits), own)


def _readable_node(node: str | Config) -> str:
    if isinstance(node, str):
        return node
    options = [f"{v:g}" if isinstance(v, float) else str(v) for k, v in node.items() if k not in ("name", "preset")]
    return " ".join([part_name(node), *options])


def _draws(asked: Asked, node: Config) -> Callable[[int], Tensor] | None:
    """The numbers that ``decoding/sample`` draws for this row; None for decodings that draw nothing, or draw otherwise."""
    if part_name(node) != "sample":
        return None
    from components.parts.decoding.sample import Uniforms

    return Uniforms(1, [(asked.seed, 0)])
