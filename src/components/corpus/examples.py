"""``prepare_examples``: a source of examples and a tokenizer become an ``ExampleCorpus``: cleaned with a report, split by input, made once."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from components.core.contracts import complete
from components.corpus.clean import Report
from components.corpus.example import Example, as_json, content_of, is_conversation, is_learnt, texts_in
from components.corpus.example_files import Stored, Writer, ends_of
from components.corpus.store import Meta, build, key_of
from components.corpus.texts import SPLITS, Cleaning, Progress, drawn, require_splits
from components.corpus.tokens import LABELS_FILE, Tokens, read_tokenizer

FORMAT = 3  # of what lies in the cache


class ExampleSource(Protocol):
    """A data part that yields examples. ``labels`` gives their order, empty if the data decide; ``notes`` go into the report."""

    labels: Sequence[str]
    notes: Sequence[str]

    def examples(self) -> Iterator[Example]: ...
    def fingerprint(self) -> str: ...


@dataclass(frozen=True)
class ExampleCorpus:
    """Three splits that share no input, the tokenizer trained on the first, and the report of cleaning."""

    train: Sequence[Example] = field(repr=False)
    validation: Sequence[Example] = field(repr=False)
    test: Sequence[Example] = field(repr=False)
    tokenizer: Tokens
    report: Report
    hash: str
    rows: Path | None = field(repr=False, default=None)  # the folder for what becomes of them, which processes may share

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels by number; empty if answers are not labels. A tokenizer that already has labels decides their order."""
        return self.tokenizer.labels

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.train.file.parent if isinstance(self.train, Stored) else Path()

    @property
    def tokens(self) -> dict[str, int]:
        """Empty: how many tokens an example has depends on the task and the model."""
        return {}

    def text(self, split: str) -> Iterator[str]:
        """Every text of a split: inputs, answers and messages."""
        return texts_of(getattr(self, split))


def prepare_examples(
    source: ExampleSource,
    tokenizer: Any,
    *,
    cache: str | Path,
    labelled: bool,
    validation: float = 0.05,
    test: float = 0.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> ExampleCorpus:
    """Clean, split and train the tokenizer on the training split, or open what an earlier call with the same data and settings
    made.

    Args:
        source: a data part with ``examples``.
        tokenizer: a tokenizer part, or a trained tokenizer.
        cache: a folder that processes may share.
        labelled: answers are labels, which get numbers.
        validation: share of inputs, where the source does not split itself.
        test: share of inputs, likewise.
        seed: of the split.
        progress: called as ``progress(what, done, total or None)``.

    Raises:
        UserError: nothing left to train or validate on, and what the source raises.
    """
    complete(source, "data")  # one from Python may say nothing of notes and labels
    cleaning = Cleaning(seed, validation, test, 0)
    cache = Path(cache).expanduser() / "examples"
    folder = cache / key_of(type(source).__qualname__, source.fingerprint(), FORMAT, seed, validation, test)

    def fill(folder: Path) -> Meta:
        report = Report(called="examples")
        digest = write_examples(folder, source.examples(), cleaning, report)
        report.notes = [*source.notes, *report.notes]
        require_splits(report, validation)
        return {"report": report.to_dict(), "hash": digest}

    known = build(folder, fill)
    splits = {name: Stored(folder / f"{name}.jsonl") for name in SPLITS}
    trained = cache / key_of(known["hash"], seed, validation, test, tokenizer.fingerprint())

    def train(folder: Path) -> Meta:
        if progress is not None:
            progress("training the tokenizer", 0, None)
        tokenizer.train(texts_of(splits["train"]))
        tokenizer.save(folder / "tokenizer.json")
        return {}

    build(trained, train)
    own = read_tokenizer(trained / "tokenizer.json")
    if labelled and not own.labels:
        found = source.labels or sorted({e.answer for s in splits.values() for e in s if isinstance(e.answer, str)})
        own.files[LABELS_FILE] = json.dumps(list(found), ensure_ascii=False)
    return ExampleCorpus(**splits, tokenizer=own, report=Report(**known["report"]), hash=known["hash"], rows=cache / "rows")


def write_examples(folder: Path, examples: Iterable[Example], cleaning: Cleaning, report: Report) -> str:
    """Clean and write each split into ``folder``. Returns a hash of what is kept; ``report`` counts what is dropped."""
    whole = hashlib.blake2b(digest_size=16)
    nearest: tuple[float, bytes] = (1.0, b"")
    own = False
    with ExitStack() as stack:
        files = {name: stack.enter_context(Writer(folder / f"{name}.jsonl")) for name in SPLITS}
        for digest, example in cleaned(examples, report):
            own |= example.split is not None
            name = example.split or cleaning.split_of(digest)
            if name == "train":
                nearest = min(nearest, (drawn(digest, cleaning.seed), digest))
            whole.update(digest + answered(example) + name.encode())
            report.kept += 1
            report.characters += sum(map(len, texts_of([example])))
            files[name].add(example)
    report.documents = {name: len(file) for name, file in files.items()}
    if not own and cleaning.validation > 0 and not report.documents["validation"] and report.documents["train"] > 1:
        report.documents |= hold_out(folder, nearest[1])
        report.notes.append(f"only {report.kept} examples: one input was held out for validation, more than its share")
    return whole.hexdigest()


def cleaned(examples: Iterable[Example], report: Report) -> Iterator[tuple[bytes, Example]]:
    """(digest of its input, example) for every example that is kept."""
    inputs: set[bytes] = set()
    pairs: set[bytes] = set()  # an input with an answer
    for example in examples:
        report.read += 1
        if fault := fault_of(example):
            report.met(fault, example.where)
            continue
        digest = digest_of(example)
        pair = hashlib.blake2b(digest + answered(example), digest_size=16).digest()
        if pair in pairs:
            report.met("duplicates", example.where)
            continue
        if digest in inputs:
            report.met("conflicting", example.where)
        inputs.add(digest)
        pairs.add(pair)
        yield digest, example


def hold_out(folder: Path, held: bytes) -> dict[str, int]:
    """Move the training examples whose input has this digest to validation. Returns the new sizes of the splits."""
    train, aside = folder / "train.jsonl", folder / "all.jsonl"
    for file in (train, ends_of(train)):
        file.rename(file.with_name(file.name.replace("train", "all", 1)))
    with Writer(train) as kept, Writer(folder / "validation.jsonl") as moved:
        for example in Stored(aside):
            (moved if digest_of(example) == held else kept).add(example)
    for file in (aside, ends_of(aside)):
        file.unlink()
    return {"train": len(kept), "validation": len(moved)}


def digest_of(example: Example) -> bytes:
    """The digest of the input. For a text it equals that of ``clean`` for a document, so both hold out the same."""
    given = example.input if isinstance(example.input, str) else json.dumps(example.input)
    return hashlib.blake2b(given.encode(), digest_size=16).digest()


def answered(example: Example) -> bytes:
    """The answer, or both answers of a preference; and the tools, as the same words with other tools are another example."""
    tools = "" if example.tools is None else json.dumps(example.tools)
    return (json.dumps(example.answers or example.answer) + tools).encode()


def fault_of(example: Example) -> str:
    """Why an example cannot be learnt from, as a reason for the report; empty if it can."""
    answer, given = example.answer, example.input
    if example.answers:
        if not given:
            return "empty"
        if not all(any(content_of(m).strip() or m.get("tool_calls") for m in said) for said in example.answers if said):
            return "unanswered"
        if len(set(map(json.dumps, example.answers))) == 1:
            return "undecided"
    elif isinstance(given, str):
        if not given.strip():
            return "empty"
        if answer is None or (isinstance(answer, str) and not answer.strip()):
            return "unanswered"
    elif not given:
        return "empty"
    elif is_conversation(given):
        said = filter(is_learnt, given)
        if not any(content_of(m).strip() or m.get("tool_calls") for m in said):
            return "unanswered"
    else:
        if not all(math.isfinite(v) for row in given for v in row):  # type: ignore[arg-type]  # rows of numbers: all else is told apart above
            return "abnormal"
        if answer is None or (isinstance(answer, str) and not answer.strip()):
            return "unanswered"
    if isinstance(answer, tuple) and not all(math.isfinite(v) for v in answer):
        return "abnormal"
    try:
        for text in texts_of([example]):
            text.encode("utf8")
    except UnicodeEncodeError:
        return "undecodable"
    return ""


def texts_of(examples: Iterable[Example]) -> Iterator[str]:
    """Every text in them."""
    for example in examples:
        if isinstance(example.input, str):
            yield example.input
        elif is_conversation(example.input):
            yield from (text for m in example.input for text in texts_in(m))
        if isinstance(example.answer, str):
            yield example.answer
        yield from (text for said in example.answers for m in said for text in texts_in(m))
        yield from map(as_json, example.tools or ())
