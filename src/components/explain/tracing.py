"""The trace: all numbers of one real pass as plain data, which the page, the table and the figures draw.

    {version, name, facts, notes, difference, model: <parts.drawing>,
     words: {id: text}, tokens: [{id, text, role: begins | prompt | written}], source: the same or null, first: position of the first that is shown,
     sides: [{path, name, tokens: "tokens" | "source", causal}],
     embeddings: [{path, side, norm (T), vectors (T, D)}], positions: [{path, label, how, added | turned (T, K)}],
     layers: [{path, side, visit, norm, norm_before, branches: [{name, kind, path, norm, mixers | neurons}]}], mixers: [<layers.mixer>],
     lens: [{after, top, next}], without: [{path, p}], influence (T, S), predictions: [<steps.predictions>], generation: <steps.steps>,
     values: {names, given, read} or null, says: tokens | classes | amounts, whole: <said> or null, answers: [<answers.answers>],
     network: <network.network>, backward: <backward.backward>}

Tensors are ``Array``s until ``packed`` writes them. Everything is of the first row; ``T`` counts the positions that are shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from components.core import registry
from components.core.flops import Work
from components.explain import layers as inside
from components.explain.answers import answers
from components.explain.asking import Asked, ask
from components.explain.backward import backward, influence, with_targets
from components.explain.network import network
from components.explain.pack import Array
from components.explain.parts import drawing
from components.explain.positions import positions
from components.explain.recorder import Recorder, plainly
from components.explain.steps import predictions, steps
from components.explain.subject import Subject

VERSION = 1
DRAWN_VECTORS = 64  # channels of an embedding that are drawn


@dataclass(frozen=True)
class Options:
    """What to look at: ``new_tokens`` that the model writes, ``shown`` positions at most, ``loss``: a backward pass too, of ``target`` where the

    text is not its own answer (a label, amounts, the text that an encoder-decoder should write); ``seed`` of draws.
    """

    new_tokens: int = 12
    shown: int = 64
    loss: bool = False
    target: str | None = None
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
            data["backward"] = backward(subject, with_targets(subject, asked, options.target), options.seed)
    return data


def _data(subject: Subject, asked: Asked, recorder: Recorder, logits: Tensor, options: Options) -> dict[str, Any]:
    length, source = asked.batch.ids.shape[1], asked.batch.source
    shown = slice(max(0, length - options.shown), length)
    sides = inside.sides_of(recorder, source is not None)
    each = asked.says == "tokens" and logits.dim() == 3
    found = predictions(logits[0, shown], _window(asked, shown)) if each else []
    whole = None if each else said(logits[0].reshape(-1), asked, subject)
    targets: list[int | None] = [_target(p) for p in found] if each else [whole["likeliest"]]  # type: ignore[index]
    layers, mixers = inside.layers(recorder, sides, shown, source=source is not None)
    model = drawing(subject, recorder, work_of(asked, sides))
    notes = [*subject.notes, *asked.notes]
    if shown.start:
        notes.append(f"The text has {length} tokens; all were read, and the last {length - shown.start} are shown.")
    data: dict[str, Any] = {"version": VERSION, "name": subject.name, "trained": subject.trained}
    data |= {"difference": subject.difference, "notes": notes, "model": model, "facts": facts(subject, model, length)}
    data |= {
        "first": shown.start,
        "given": asked.given,
        "begins": asked.begins,
        "why_not": asked.why_not,
        "says": asked.says,
        "whole": whole,
    }
    data |= {"tokens": _tokens(asked)[shown], "sides": _sides(sides, source is not None, recorder)}
    data["values"] = values(subject, asked)
    data["source"] = None if source is None else _rows(asked, source.ids[0].tolist(), "source")
    data |= {"embeddings": _embeddings(recorder, shown, source is not None), "positions": positions(recorder, shown)}
    data |= {"layers": layers, "mixers": mixers, "predictions": found}
    data["lens"] = inside.lens(recorder, sides[-1], shown, targets) if each else []
    data["without"] = inside.without(recorder, sides[-1], shown, targets) if each else []
    data["generation"] = steps(subject, asked, logits[0]) if each else None
    data["influence"] = influence(subject, recorder, asked, shown, targets)
    data |= {"network": named_network(recorder, subject, asked), "backward": None}
    data["answers"] = answers(data, asked.words)
    data["words"] = {str(i): asked.words.text(i) for i in sorted(_named(data))}
    return data


def said(row: Tensor, asked: Asked, subject: Subject) -> dict[str, Any]:
    """What a head says of the whole input: {names, scores, p, likeliest}; ``p`` is null for amounts."""
    names = list(getattr(subject.tokenizer, "labels", ()) or ())
    names = [names[i] if i < len(names) and asked.says == "classes" else str(i + 1) for i in range(len(row))]
    p = row.double().softmax(-1).tolist() if asked.says == "classes" else None
    return {"names": names, "scores": row.tolist(), "p": p, "likeliest": int(row.argmax()) if asked.says == "classes" else 0}


def named_network(recorder: Recorder, subject: Subject, asked: Asked) -> dict[str, Any] | None:
    """The small network with the names of its inputs and outputs where the data have some."""
    found = network(recorder)
    if found is None:
        return None
    first, last = found["layers"][0], found["layers"][-1]
    columns = list((subject.config.get("data") or {}).get("features") or columns_of(subject))
    labels = list(getattr(subject.tokenizer, "labels", ()) or ()) if asked.says == "classes" else []
    names = {"inputs": columns if len(columns) == len(first["inputs"][0]) else []}
    names["outputs"] = labels if len(labels) == len(last["sums"][0]) else []
    return found | {"names": names, "softmax": asked.says == "classes"}


def values(subject: Subject, asked: Asked) -> dict[str, Any] | None:
    """{names, given, read} of each position where the model reads numbers: as they were given, and as it reads them."""
    if asked.numbers is None or asked.batch.values is None:
        return None
    columns = list((subject.config.get("data") or {}).get("features") or columns_of(subject))
    names = columns if len(columns) == len(asked.numbers[0]) else []
    return {"names": names, "given": asked.numbers, "read": asked.batch.values[0].tolist()}


def columns_of(subject: Subject) -> tuple[str, ...]:
    """The names of the columns that the data part declares."""
    node = subject.config.get("data") or {}
    return tuple(getattr(registry.find("data", node["name"]), "columns", ()) or ()) if "name" in node else ()


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
