"""The trace: all numbers of one real pass as plain data, which the page, the table and the figures draw.

    {version, name, facts, notes, difference, model: <parts.drawing>,
     words: {id: text}, tokens: [{id, text, role: begins | prompt | written}], source: the same or null, first: position of the first that is shown,
     sides: [{path, name, tokens: "tokens" | "source", causal}],
     embeddings: [{path, side, norm (T), vectors (T, D)}], positions: [{path, label, how, added | turned (T, K)}],
     layers: [{path, side, visit, norm, norm_before, branches: [{name, kind, path, norm, mixers | neurons}]}], mixers: [<layers.mixer>],
     lens: [{after, top, next}], without: [{path, p}], influence (T, S), predictions: [<steps.predictions>], generation: <steps.steps>,
     answers: [<answers.answers>], network: <network.network>, backward: <backward.backward>}

Tensors are ``Array``s until ``packed`` writes them. Everything is of the first row; ``T`` counts the positions that are shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from components.explain import layers as inside
from components.explain.answers import answers
from components.explain.asking import Asked, ask
from components.explain.backward import backward, influence, with_targets
from components.explain.pack import Array
from components.explain.parts import drawing
from components.explain.positions import positions
from components.explain.recorder import Recorder, plainly
from components.explain.steps import predictions, steps
from components.explain.subject import Subject
from components.flops import Work

VERSION = 1
DRAWN_VECTORS = 64  # channels of an embedding that are drawn


@dataclass(frozen=True)
class Options:
    """What to look at: ``new_tokens`` that the model writes, ``shown`` positions at most, ``loss``: a backward pass too, ``seed`` of draws."""

    new_tokens: int = 12
    shown: int = 64
    loss: bool = False
    seed: int = 0


def trace(subject: Subject, prompt: str, options: Options) -> dict[str, Any]:
    """All of one pass over ``prompt``."""
    with plainly(subject.model):
        asked = ask(subject, prompt, new_tokens=options.new_tokens, seed=options.seed)
        recorder = Recorder(subject.model)
        with torch.no_grad(), recorder.listening():
            logits = subject.model(asked.batch)
        data = _data(subject, asked, recorder, logits, options)
        if options.loss:
            data["backward"] = backward(subject, with_targets(asked), options.seed)
    return data


def _data(subject: Subject, asked: Asked, recorder: Recorder, logits: Tensor, options: Options) -> dict[str, Any]:
    length = asked.batch.ids.shape[1]
    shown = slice(max(0, length - options.shown), length)
    sides = list(dict.fromkeys(inside.wiring_of(recorder.model, c.path)[0] for c in recorder.layers)) or [""]
    each = logits.dim() == 3
    found = predictions(logits[0, shown] if each else logits[:1], _window(asked, shown)) if each else []
    targets: list[int | None] = [_target(p) for p in found]
    layers, mixers = inside.layers(recorder, sides, shown)
    data: dict[str, Any] = {
        "version": VERSION,
        "name": subject.name,
        "trained": subject.trained,
        "difference": subject.difference,
    }
    data["notes"] = [*subject.notes, *asked.notes]
    if shown.start:
        data["notes"].append(f"The text has {length} tokens; all were read, and the last {length - shown.start} are shown.")
    data["model"] = drawing(subject, recorder, work_of(asked, sides))
    data["facts"] = facts(subject, data["model"], length)
    data["first"], data["given"], data["why_not"] = shown.start, asked.given, asked.why_not
    data["tokens"] = _tokens(asked)[shown]
    source = asked.batch.source
    data["source"] = None if source is None else _rows(asked, source.ids[0].tolist(), "source")
    data["sides"] = _sides(sides, source is not None, recorder)
    data["embeddings"] = _embeddings(recorder, shown, source is not None)
    data["positions"] = positions(recorder, shown)
    data |= {"layers": layers, "mixers": mixers, "predictions": found}
    data["lens"] = inside.lens(recorder, sides[-1], shown, targets) if each else []
    data["without"] = inside.without(recorder, sides[-1], shown, targets) if each else []
    data["generation"] = steps(subject, asked, logits[0]) if each else None
    data["influence"] = influence(subject, recorder, asked, shown, targets) if each else None
    data["backward"] = None
    data["answers"] = answers(data, asked.words)
    data["words"] = {str(i): asked.words.text(i) for i in sorted(_named(data))}
    return data


def _window(asked: Asked, shown: slice) -> Asked:
    return replace(asked, batch=replace(asked.batch, ids=asked.batch.ids[:, shown]))


def _target(prediction: dict[str, Any]) -> int | None:
    """What is explained at a position: the token that follows; where none does, the likeliest."""
    return prediction["next"]["id"] if prediction["next"] else int(prediction["top"][0][0])


def work_of(asked: Asked, sides: list[str]) -> dict[str, Work]:
    """For FLOPs: what each side worked on; "" is the whole model."""
    length = asked.batch.ids.shape[1]
    if asked.batch.source is None:
        return dict.fromkeys(["", *sides], Work(length, causal=asked.writes))
    memory = asked.batch.source.ids.shape[1]
    target = Work(length, causal=True, memory=memory)
    return {"": target, sides[0]: Work(memory, causal=False), sides[-1]: target}


def facts(subject: Subject, model: dict[str, Any], length: int) -> dict[str, Any]:
    flops = model["flops"]
    found = {"parameters": model["parameters"], "bytes": model["bytes"], "tokens": length, "flops": flops}
    found["flops_per_token"] = None if flops is None else flops / length
    found["config"] = {k: v.get("name") for k, v in subject.config.items() if isinstance(v, dict) and "name" in v}
    return found


def _tokens(asked: Asked) -> list[dict[str, Any]]:
    rows = _rows(asked, asked.ids, "prompt")
    for i, row in enumerate(rows):
        row["role"] = "begins" if i < asked.begins else "prompt" if i < asked.given else "written"
    return rows


def _rows(asked: Asked, ids: list[int], role: str) -> list[dict[str, Any]]:
    return [{"id": i, "text": asked.words.text(i), "role": role, "special": asked.words.is_special(i)} for i in ids]


def _sides(sides: list[str], source: bool, recorder: Recorder) -> list[dict[str, Any]]:
    rows = []
    for n, path in enumerate(sides):
        info = next((c.info for c in recorder.layers if inside.wiring_of(recorder.model, c.path)[0] == path), None)
        reads = "source" if source and n == 0 and len(sides) > 1 else "tokens"
        rows.append({"path": path, "name": path or "model", "tokens": reads, "causal": bool(info.causal) if info else True})
    return rows


def _embeddings(recorder: Recorder, shown: slice, source: bool) -> list[dict[str, Any]]:
    rows = []
    calls = [c for c in recorder.of_kind("embedding") if isinstance(c.y, Tensor)]
    for n, call in enumerate(calls):
        vectors = call.y[0] if source and n == 0 else call.y[0][shown]
        row = {
            "path": call.path,
            "tokens": "source" if source and n == 0 and len(calls) > 1 else "tokens",
            "width": vectors.shape[-1],
        }
        rows.append(row | {"norm": Array(vectors.norm(dim=-1)), "vectors": Array(vectors[:, :DRAWN_VECTORS], rank=1)})
    return rows


def _named(data: dict[str, Any]) -> set[int]:
    """Ids that stand in the lists of likeliest tokens."""
    found = {int(row["id"]) for row in data["tokens"]} | {int(row["id"]) for row in data["source"] or ()}
    tops = [p["top"] for p in data["predictions"]] + [top for row in data["lens"] for top in row["top"]]
    for step in (data["generation"] or {"steps": ()})["steps"]:
        tops += [stage["top"] for stage in step["stages"]]
        found |= {step["chosen"]} if step["chosen"] is not None else set()
        found |= {step["fell_on"]} if "fell_on" in step else set()
    return found | {int(i) for top in tops for i, *_ in top}
