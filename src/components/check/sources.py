"""Properties of data sources: they yield what they declare, the same every time, and a fingerprint tells different contents
apart. A source that reads a file (a required option ``path``) is given a small table with fields of every usual name.
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeGuard

from components.check.cases import Violation, holds
from components.check.host import Host
from components.check.small import GIVEN
from components.check.subject import Subject
from components.core.errors import UserError
from components.core.files import write_text
from components.core.makers import make
from components.core.signature import REQUIRED, Option
from components.corpus.document import Document
from components.corpus.example import Example

WORDS = ("text", "labels", "amounts", "pairs", "conversations", "values", "preferences")
SPLITS = (None, "train", "validation", "test")
MESSAGE_ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython")
MESSAGE = (
    f'{{"role": {", ".join(MESSAGE_ROLES)}, "content": text}}, in which an assistant may have tool_calls instead of content'
)
SEEN = 200  # so many of what it yields are looked at
OTHERS: tuple[Any, ...] = (7, 1, 0.5, True, False, "x", ["x"], [])  # what an option is changed to, the first that it may be
Thing = Document | Example


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    made = tempfile.TemporaryDirectory(prefix="components-check-")  # gone when the process ends
    write_sample(made.name, 12)
    return made


def write_sample(folder: str, rows: int) -> str:
    """Write a file that every source of the user's own data can read. Returns its path."""
    file = Path(folder) / "sample.jsonl"
    lines = []
    for i in range(rows):
        talk = [{"role": "user", "content": f"What is {i} doubled?"}, {"role": "assistant", "content": f"It is {2 * i}."}]
        texts = {"text": f"The number {i}.", "source": f"number {i}", "target": f"nombre {i}", "label": ("even", "odd")[i % 2]}
        answers = {"chosen": talk, "rejected": [talk[0], {"role": "assistant", "content": "I do not know."}]}
        lines.append(json.dumps({**texts, **answers, "size": float(i), "amount": 2.0 * i, "messages": talk}))
    write_text(file, "\n".join(lines) + "\n")
    return str(file)


def needs_file(host: Host) -> bool:
    """Whether the source reads a file and no path is given."""
    path = host.subject.signature.options.get("path")
    return path is not None and path.default == REQUIRED and given(host.subject).get("path", GIVEN) == GIVEN


def given(subject: Subject) -> dict[str, Any]:
    """The options that are set, for a subject of any form."""
    maker = subject.maker
    return maker if isinstance(maker, dict) else maker.keywords if isinstance(maker, functools.partial) else {}


def source(host: Host, **options: object) -> Any:
    """A new source with these options on top of its own."""
    if needs_file(host):
        options = {"path": str(Path(_folder().name) / "sample.jsonl"), **options}
    maker = host.subject.maker
    return make({**maker, **options} if isinstance(maker, dict) else functools.partial(maker, **options), "data")


def things(made: Any, declared: tuple[str, ...]) -> list[Thing]:
    """The first items that the source yields, documents before examples."""
    ways: list[Callable[[], Iterator[Thing]]] = []
    if "text" in declared:
        ways.append(made.documents)
    if set(declared) - {"text"}:
        ways.append(made.examples)
    return [thing for way in ways for thing in islice(way(), SEEN)]


@holds("declares what it gives", "data")
def declares(host: Host) -> None:
    words, made = host.subject.declared("provides"), source(host)
    if not set(words) & set(WORDS):
        raise Violation(f"provides = {tuple(words)!r} names none of {', '.join(WORDS)}")
    for method, due in (("documents", "text" in words), ("examples", bool(set(words) & set(WORDS[1:])))):
        if due != callable(getattr(made, method, None)):
            raise Violation(f"provides = {tuple(words)!r}, and there is {'no ' if due else 'a '}method {method}")


@holds("gives what it declares", "data")
def gives(host: Host) -> None:
    words, made = tuple(host.subject.declared("provides")), source(host)
    found = things(made, words)
    if not found:
        raise Violation("it gives nothing at all")
    widths: dict[str, int] = {}
    for thing in found:
        for fault in faults_of(thing, words, widths):
            raise Violation(f"{thing.where}: {fault}")
    labels = tuple(made.labels)
    if len(set(labels)) < len(labels):
        raise Violation("its labels have one twice")
    for thing in found:
        if labels and isinstance(thing, Example) and thing.answer is not None and thing.answer not in labels:
            raise Violation(f"{thing.where}: the label {thing.answer!r} is not among its labels")


def faults_of(thing: Thing, words: tuple[str, ...], widths: dict[str, int]) -> Iterator[str]:
    """The faults of a document or an example from a source that provides ``words``. ``widths``: the widths of earlier ones,
    updated."""
    if not (isinstance(thing.origin, str) and thing.origin and isinstance(thing.line, int) and thing.line >= 0):
        yield f"its origin {thing.origin!r} and line {thing.line!r} are no place"
    if isinstance(thing, Document):
        if not isinstance(thing.text, str):
            yield f"its text is {type(thing.text).__name__}"
        return
    if thing.split not in SPLITS:
        yield f"its split is {thing.split!r}"
    form, answer = thing.input, thing.answer
    if "conversations" in words:
        if not (isinstance(form, tuple) and all(_is_message(m) for m in form)):
            yield f"its input is no tuple of {MESSAGE}"
        if answer is not None:
            yield "a conversation holds its answers itself, and it has another one"
    elif "preferences" in words:
        if not all(isinstance(one, tuple) and one and all(_is_message(m) for m in one) for one in (form, *thing.answers)):
            yield f"its prompt and answers are no tuples of {MESSAGE}"
        if len(thing.answers) != 2:
            yield f"it has {len(thing.answers)} answers, and a preference has two"
    elif "values" in words:
        rows = form if _is_rows(form) else None
        numbers = None if rows is None else [v for row in rows for v in row]
        yield from _numbers("input", numbers, len(rows[0]) if rows else 0, widths)
        if rows and len({len(row) for row in rows}) > 1:
            yield "its positions have different numbers of figures"
    elif not isinstance(form, str):
        yield f"its input is no text but {type(form).__name__}"
    if "amounts" in words and answer is not None:
        numbers = list(answer) if isinstance(answer, tuple) else None
        yield from _numbers("answer", numbers, len(numbers or ()), widths)
    if set(words) & {"labels", "pairs"} and not isinstance(answer, (str, type(None))):
        yield f"its answer is no text but {type(answer).__name__}"
    try:
        json.dumps([form, answer])
    except TypeError as e:
        yield f"JSON cannot hold it: {e}"


def _is_message(m: object) -> bool:
    return (
        isinstance(m, dict)
        and m.get("role") in MESSAGE_ROLES
        and (isinstance(m.get("content"), str) or bool(m.get("tool_calls")))
    )


def _is_rows(form: object) -> TypeGuard[tuple[tuple[object, ...], ...]]:
    return isinstance(form, tuple) and all(isinstance(row, tuple) for row in form)


def _numbers(what: str, numbers: Sequence[object] | None, width: int, widths: dict[str, int]) -> Iterator[str]:
    if numbers is None:
        yield f"its {what} is no tuple{' of tuples' if what == 'input' else ''} of numbers"
        return
    if wrong := [v for v in numbers if not isinstance(v, (int, float)) or isinstance(v, bool)]:
        yield f"its {what} holds {type(wrong[0]).__name__} {wrong[0]!r}, which is no number of Python's"
    if widths.setdefault(what, width) != width:
        yield f"its {what} has {width} numbers where those before it have {widths[what]}"


@holds("is the same each time", "data")
def same_each_time(host: Host) -> None:
    words = tuple(host.subject.declared("provides"))
    one, other = source(host), source(host)
    first = things(one, words)
    for name, again in (("read again", things(one, words)), ("made again", things(other, words))):
        if first != again:
            at = next((i for i, (a, b) in enumerate(zip(first, again)) if a != b), min(len(first), len(again)))
            raise Violation(f"{name}, number {at + 1} is another one")
    prints = [one.fingerprint(), other.fingerprint(), source(host).fingerprint()]
    if not all(isinstance(p, str) and p == prints[0] for p in prints):
        raise Violation(
            f"its fingerprint is {prints[0]!r}, then {next(p for p in prints if p != prints[0] or not isinstance(p, str))!r}"
        )


@holds("its fingerprint follows its options", "data")
def follows_options(host: Host) -> None:
    words = tuple(host.subject.declared("provides"))
    made = source(host)
    before, known = things(made, words), made.fingerprint()
    for option in host.subject.signature.options.values():
        for value in [] if option.name in given(host.subject) else _others(option):
            try:
                changed = source(host, **{option.name: value})
                after, stamp = things(changed, words), changed.fingerprint()
            except (ValueError, ImportError):  # a UserError is one: it cannot be that
                continue
            if after != before and stamp == known:
                raise Violation(f"{option.name}={value!r} changes what it gives, and the fingerprint is the same")


def _others(option: Option) -> list[object]:
    """One value of each type that the option accepts, other than its default."""
    if option.type.kind is not None or option.default == REQUIRED:
        return []
    values = [v for v in (*option.type.allowed, *OTHERS) if v != option.default and option.type.fault(v) is None]
    return list({type(v): v for v in reversed(values)}.values())


@holds("its fingerprint follows its file", "data", applies=needs_file)
def follows_file(host: Host) -> None:
    with tempfile.TemporaryDirectory() as folder:
        known = source(host, path=write_sample(folder, 12)).fingerprint()
        try:
            if source(host, path=write_sample(folder, 13)).fingerprint() == known:
                raise Violation("a row was added to the file, and it is the same")
        except UserError as e:
            raise Violation(f"with one row more it says: {e}") from None
