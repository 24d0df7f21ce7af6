"""Measure a trained model on a split, with every target counted once, and run evaluations on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from components.compose.request import Request
from components.core import html
from components.core.bar import Bar
from components.core.errors import UserError
from components.core.files import read_json
from components.core.makers import make_all, on_part_built
from components.core.traits import counts_tokens, gives_examples, judge_of, measures_text
from components.corpus.corpus import Source
from components.corpus.evaluation_api import WORDS, Better, EvalData, Figure
from components.corpus.example import Example
from components.corpus.example_files import Chained
from components.corpus.examples import ExampleCorpus, ExampleSource
from components.corpus.pairs import first_mismatched
from components.corpus.preparation import Preparation
from components.corpus.steps import EvalBatches
from components.evaluating.asked import Trained
from components.runs.importing import is_foreign
from components.runs.metrics_file import perplexity
from components.runs.preparing import corpus_of, examples_of, task_of, task_options
from components.runs.start_of_run import first_model
from components.runs.task_module import AnyCorpus, Comparing, LoadedModel

SPLITS = ("train", "validation", "test")


class Evaluation(Protocol):
    """A part of the kind ``evaluation``."""

    asks: tuple[str, ...]
    gives: Mapping[str, Better]

    def measure(self, model: Trained, held: EvalData, /) -> Mapping[str, Figure]: ...


class Measured(dict[str, Any]):
    """The figures of a split, {name: number}, and ``evaluations`` and ``harness`` where they were asked for; a notebook shows them as a table."""

    def _repr_html_(self) -> str:
        figures = [(name.replace("_", " "), f"{value:,.6g}") for name, value in self.items() if isinstance(value, (int, float))]
        shown = html.table(figures) if figures else ""
        for name, found in {**self.get("evaluations", {}), **self.get("harness", {})}.items():
            rows = [
                (figure.replace("_", " "), *map(_shown, (f["value"], f["error"], f["count"], f["chance"])))
                for figure, f in found.items()
            ]
            shown += html.table(rows, ("", "value", "error", "of", "chance"), title=name.replace("_", " "))
        return shown


def _shown(figure: float | None) -> str:
    return "" if figure is None else f"{figure:,.4g}"


@torch.inference_mode()
def evaluate(
    loaded: LoadedModel,
    split: str = "validation",
    rows: int | None = None,
    bar: Bar | None = None,
    evaluations: Sequence[Any] = (),
) -> dict[str, Any]:
    """Loss, perplexity of tokens (nats), bits per byte and the task's metrics of ``split``, or of ``all`` splits together.

    Bits per byte are given only if the loss is the likelihood of the text, left to right. ``evaluations`` are makers, added to those of the
    config's node ``evaluation``. With any, the result has ``evaluations``: {name: {figure: {value, error, count, chance}}}.

    Raises:
        UserError: the data have no such split, or the model or the data cannot answer what an evaluation asks.
    """
    config, model = loaded.config, loaded.model
    options = task_options(config)
    if split not in (*SPLITS, "all"):
        raise UserError("split", f"there is no split {split!r}", f"splits: {', '.join(SPLITS)}, all")
    parts = named([*config.get("evaluation", ()), *evaluations])
    source, corpus = corpus_of(config, options, bar, loaded.tokenizer)
    task = task_of(config, loaded.tokenizer)
    task.model = model
    splits = {name: blocks for name in SPLITS if (blocks := task.blocks(corpus, name, model.context_length)) is not None}
    found = list(splits.values()) if split == "all" else [splits[split]] if split in splits else []
    if not found:
        raise UserError(f"--split {split}", "the data have no such split", f"set task.{split}_fraction, or take --split all")
    asked = Trained(loaded, task)
    held = held_of(source, corpus, SPLITS if split == "all" else (split,), asked.labelled)
    for name, part in parts.items():
        allow(name, part, asked, held)
    task.measured_on = examples_of(*found)
    preparation = Preparation(task.loss, config["seed"])
    device = next(model.parameters()).device
    task.metrics.to(device)
    if isinstance(task, Comparing) and task.loss.compares:
        task.compare_with(first_model(config, loaded.tokenizer, task.vocab_size, device))
    for blocks in found:
        beside = first_mismatched(blocks, task.batch_size) if task.loss.mismatches else None
        apart = task.documents == "apart"
        for item in EvalBatches(blocks, rows or task.batch_size, 0, 1, apart, preparation=preparation, beside=beside):
            task.validation_step(item.to(device), 0)
    means, nats, weight = task.take_eval()
    if not weight:
        raise UserError(
            f"--split {split}", "its rows have no target, so there is nothing to measure", "take another split, or all"
        )
    loss = means.pop("loss")
    n_bytes = sum(b.n_bytes for b in found)
    return {
        "loss": loss,
        **({"perplexity": perplexity(loss)} if counts_tokens(task.loss) else {}),
        **({"bits_per_byte": nats / math.log(2) / n_bytes} if n_bytes and measures_text(task.loss, model) else {}),
        **means,
        "targets": weight,
        "documents": float(sum(b.n_documents for b in found)),
        "documents_in_all": float(sum(b.n_documents for b in splits.values())),
        **({"evaluations": {name: measured(part, asked, held) for name, part in parts.items()}} if parts else {}),
    }


def need_data(loaded: LoadedModel, place: str | Path, request: Request) -> None:
    """UserError if a model was imported and no data are named: the data of its config are only a default."""
    if any(argument.path[0] == "data" for argument in request.arguments):
        return
    about = read_json(loaded.folder / "run.json") if loaded.folder is not None else {}
    if is_foreign(Path(place).expanduser()) or (isinstance(about, dict) and "imported" in about):
        raise UserError("evaluate", "the model was imported, and brings no data", "name some: data=text data.path=FILE")


def named(evaluations: Sequence[Any]) -> dict[str, Evaluation]:
    """{name: part}. Repeated evaluations are numbered: ``few_shot``, ``few_shot 2``."""
    labels: dict[int, str] = {}

    def note(part: object, label: str, *_: object) -> None:
        labels.setdefault(id(part), label.rpartition("/")[2])

    with on_part_built(note):
        parts = make_all(evaluations, "evaluation")
    found: dict[str, Evaluation] = {}
    for part in parts:
        name = labels[id(part)]
        number = 1 + sum(known == name or known.startswith(f"{name} ") for known in found)
        found[f"{name} {number}" if number > 1 else name] = part
    return found


def held_of(source: Source | ExampleSource, corpus: AnyCorpus, splits: tuple[str, ...], labelled: bool) -> EvalData:
    """What evaluations may read from a corpus of documents or of examples."""

    def texts() -> list[str]:
        return [text for split in splits for text in corpus.text(split)]

    def examples(of: tuple[str, ...]) -> Sequence[Example]:
        return Chained([getattr(corpus, split) for split in of] if gives_examples(source) else [])

    return EvalData(
        texts=texts,
        seen=lambda: corpus.text("train"),
        items=(lambda: examples(splits)) if labelled else texts,
        examples=lambda: examples(splits),
        shown=lambda: examples(("train",)),
        labels=corpus.labels if labelled and isinstance(corpus, ExampleCorpus) else (),
        judge=judge_of(source),
    )


def allow(name: str, part: Evaluation, asked: Trained, held: EvalData) -> None:
    """UserError if the model or the data cannot answer what the evaluation asks."""
    where = f"evaluation.{name}"
    for word in part.asks:
        if word not in WORDS:
            raise UserError(where, f"asks={part.asks}: {word!r} can be asked of nothing", f"words: {', '.join(WORDS)}")
        if word == "judge" and held.judge is None:
            raise UserError(where, "the data have no rule that judges a text", "take data=python_functions, or leave it out")
        if word == "examples" and not held.examples():
            raise UserError(where, "the data have text, and no examples with answers", f"name some: {where}.data=language_id")
        if word not in ("judge", "examples") and (reason := asked.refusal(word)):
            raise UserError(where, reason, "leave it out, or take a causal decoder with a head for tokens")


def measured(part: Evaluation, asked: Trained, held: EvalData) -> dict[str, dict[str, float | None]]:
    """{figure: {value, error, count, chance}} of one evaluation."""
    return {figure: asdict(found) for figure, found in part.measure(asked, held).items()}
