"""One real pass of a model over a prompt, and from it the whole trace."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from components.core import registry
from components.core.abilities import NamesColumns
from components.core.flops import Work
from components.explain import layers as inside
from components.explain.answers import answers
from components.explain.asking import Asked, ask
from components.explain.backward import backward, influence, with_targets
from components.explain.network import linear_chain
from components.explain.pack import Array
from components.explain.parts import drawing
from components.explain.positions import positions
from components.explain.recorder import Recorder, eval_uncompiled
from components.explain.steps import predictions, steps
from components.explain.subject import Subject
from components.explain.trace import (
    VERSION,
    Embedding,
    Ends,
    Facts,
    Network,
    PartNode,
    Prediction,
    Side,
    Token,
    Trace,
    Values,
    Whole,
)

DRAWN_VECTORS = 64  # channels of an embedding that are drawn


@dataclass(frozen=True)
class Options:
    """What to look at.

    Args:
        new_tokens: how many tokens the model writes, at most.
        shown: how many of the last positions are shown.
        loss: a backward pass as well.
        target: for the loss, where the text is not its own answer: a label, amounts, or what an encoder-decoder should write.
        seed: of what is drawn.
    """

    new_tokens: int = 12
    shown: int = 64
    loss: bool = False
    target: str | None = None
    seed: int = 0


def trace(subject: Subject, prompt: str, options: Options) -> Trace:
    """All of one pass over ``prompt``. UserError if the model cannot read it, or the loss cannot be had."""
    with eval_uncompiled(subject.model):
        asked = ask(subject, prompt, new_tokens=options.new_tokens, seed=options.seed)
        recorder = Recorder(subject.model)
        with torch.no_grad(), recorder.listening():
            logits = subject.model(asked.batch)
        data = _data(subject, asked, recorder, logits, options)
        if options.loss:
            data.backward = backward(subject, with_targets(subject, asked, options.target), options.seed)
    return data


def _data(subject: Subject, asked: Asked, recorder: Recorder, logits: Tensor, options: Options) -> Trace:
    length, source = asked.batch.ids.shape[1], asked.batch.source
    shown = slice(max(0, length - options.shown), length)
    sides = inside.sides_of(recorder, source is not None)
    each = asked.output_kind == "tokens" and logits.dim() == 3
    found = predictions(logits[0, shown], _window(asked, shown)) if each else []
    whole = None if each else class_scores(logits[0].reshape(-1), asked, subject)
    targets: list[int | None] = [_target(p) for p in found] if whole is None else [whole.likeliest]
    layers, mixers = inside.layers(recorder, sides, shown, source=source is not None)
    model = drawing(subject, recorder, work_of(asked, sides))
    notes = [*subject.notes, *asked.notes]
    if shown.start:
        notes.append(f"The text has {length} tokens; all were read, and the last {length - shown.start} are shown.")
    data = Trace(
        version=VERSION,
        name=subject.name,
        trained=subject.trained,
        difference=subject.difference,
        notes=notes,
        model=model,
        facts=facts(subject, model, length),
        first=shown.start,
        given=asked.given,
        begins=asked.begins,
        why_not=asked.why_not,
        output_kind=asked.output_kind,
        whole=whole,
        tokens=_tokens(asked)[shown],
        sides=_sides(sides, source is not None, recorder),
        values=values(subject, asked),
        source=None if source is None else [_token(asked, i, "source") for i in source.ids[0].tolist()],
        embeddings=_embeddings(recorder, shown, source is not None),
        positions=positions(recorder, shown),
        layers=layers,
        mixers=mixers,
        predictions=found,
        lens=inside.logit_lens(recorder, sides[-1], shown, targets) if each else [],
        without=inside.ablate_branches(recorder, sides[-1], shown, targets) if each else [],
        generation=steps(subject, asked, logits[0]) if each else None,
        influence=influence(subject, recorder, asked, shown, targets),
        network=network(recorder, subject, asked),
        backward=None,
        answers=[],
        words={},
    )
    data.answers = answers(data, asked.words)
    data.words = {str(i): asked.words.text(i) for i in sorted(_named(data))}
    return data


def class_scores(row: Tensor, asked: Asked, subject: Subject) -> Whole:
    """What a head says of the whole input; ``row`` (C,) are its scores or amounts."""
    classes = asked.output_kind == "classes"
    labels = subject.labels if classes else []
    names = [labels[i] if i < len(labels) else str(i) for i in range(len(row))]
    p = row.double().softmax(-1).tolist() if classes else None
    return Whole(names, row.tolist(), p, int(row.argmax()) if classes else 0)


def network(recorder: Recorder, subject: Subject, asked: Asked) -> Network | None:
    """A small network whole, with the names of its inputs and outputs where the data have some."""
    layers = linear_chain(recorder)
    if layers is None:
        return None
    classes = asked.output_kind == "classes"
    columns, labels = columns_of(subject), subject.labels if classes else []
    inputs = columns if len(columns) == len(layers[0].inputs[0]) else []
    return Network(layers, Ends(inputs, labels if len(labels) == len(layers[-1].sums[0]) else []), classes)


def values(subject: Subject, asked: Asked) -> Values | None:
    """The numbers of each position, where the model reads numbers."""
    if asked.numbers is None or asked.batch.values is None:
        return None
    columns = columns_of(subject)
    return Values(columns if len(columns) == len(asked.numbers[0]) else [], asked.numbers, asked.batch.values[0].tolist())


def columns_of(subject: Subject) -> list[str]:
    """Names of the columns of the data: the option ``features``, else those that the data part declares."""
    node = subject.config.get("data") or {}
    part = registry.find("data", node["name"]) if "name" in node else None
    return list(node.get("features") or (part.columns if isinstance(part, NamesColumns) else None) or ())


def _window(asked: Asked, shown: slice) -> Asked:
    return replace(asked, batch=replace(asked.batch, ids=asked.batch.ids[:, shown]))


def _target(prediction: Prediction) -> int:
    """What is explained at a position: the token that follows; where none does, the likeliest."""
    return prediction.next.id if prediction.next else prediction.top[0].id


def work_of(asked: Asked, sides: list[str]) -> dict[str, Work]:
    """For FLOPs: what each side worked on; "" is the whole model."""
    length = asked.batch.ids.shape[1]
    if asked.batch.source is None:
        return dict.fromkeys(["", *sides], Work(length, causal=asked.writes))
    memory = asked.batch.source.ids.shape[1]
    target = Work(length, causal=True, memory=memory)
    return {"": target, sides[0]: Work(memory, causal=False), sides[-1]: target}


def facts(subject: Subject, model: PartNode, length: int) -> Facts:
    per_token = None if model.flops is None else model.flops / length
    config = {k: v["name"] for k, v in subject.config.items() if isinstance(v, dict) and "name" in v}
    return Facts(model.parameters, model.bytes, length, model.flops, per_token, config)


def _tokens(asked: Asked) -> list[Token]:
    roles = ("begins" if i < asked.begins else "prompt" if i < asked.given else "written" for i in range(len(asked.ids)))
    return [_token(asked, i, role) for i, role in zip(asked.ids, roles)]


def _token(asked: Asked, i: int, role: str) -> Token:
    return Token(i, asked.words.text(i), role, asked.words.is_special(i))


def _sides(sides: list[str], source: bool, recorder: Recorder) -> list[Side]:
    rows = []
    for n, path in enumerate(sides):
        info = next((c.info for c in recorder.layers if inside.wiring_of(recorder.model, c.path)[0] == path), None)
        reads = "source" if source and n == 0 and len(sides) > 1 else "tokens"
        rows.append(Side(path, path or "model", reads, bool(info.causal) if info else True))
    return rows


def _embeddings(recorder: Recorder, shown: slice, source: bool) -> list[Embedding]:
    rows = []
    calls = [c for c in recorder.of_kind("embedding") if isinstance(c.y, Tensor)]
    for n, call in enumerate(calls):
        vectors = call.y[0] if source and n == 0 else call.y[0][shown]
        reads = "source" if source and n == 0 and len(calls) > 1 else "tokens"
        drawn = Array(vectors[:, :DRAWN_VECTORS], rank=1)
        rows.append(Embedding(call.path, reads, vectors.shape[-1], Array(vectors.norm(dim=-1)), drawn))
    return rows


def _named(data: Trace) -> set[int]:
    """Every id in the trace."""
    tops = [p.top for p in data.predictions] + [top for row in data.lens for top in row.top]
    tops += [stage.top for step in data.steps for stage in step.stages]
    found = {t.id for t in [*data.tokens, *(data.source or ())]} | {c.id for top in tops for c in top}
    return found | {i for step in data.steps for i in (step.chosen, step.fell_on) if i is not None}
