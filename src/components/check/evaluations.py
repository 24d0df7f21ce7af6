"""Properties of evaluations, in a small world with three models: one knows everything, one guesses, one answers only what is
declared.

The world consists of Python functions that describe themselves, examples whose input holds the answer, and a judge of whole
functions.
"""

from __future__ import annotations

import ast
import hashlib
import math
import random
from collections.abc import Callable, Mapping, Sequence

import torch

from components.check.cases import Violation, holds
from components.check.host import Host
from components.check.off_path import made
from components.corpus.evaluation_api import HIGHER, LOWER, WORDS, EvalData, Figure, Prediction
from components.corpus.example import Example

VERBS = ("count", "sort", "merge", "split", "paint", "weigh", "fold", "lift", "cut", "tie", "burn", "dig")
NOUNS = ("apples", "bricks", "cables", "drums", "engines", "flags", "gates", "hats", "islands", "jars", "kites", "lamps")
ENDS = ("morning", "noon", "night", "spring", "summer", "autumn", "winter", "dawn", "dusk", "midday", "evening", "easter")
UNLIKELY = -20.0
METHODS = {"likelihood": ("fit", "score", "count"), "writing": ("write",), "predictions": ("predict",)}


def function(verb: int, noun: int) -> str:
    """What the function is for decides its last words, its name and its body."""
    v, n, e = VERBS[verb], NOUNS[noun], ENDS[(verb + noun) % len(ENDS)]
    return f'def {v}_{n}(x):\n    """There is a way to {v} the {n} and it was known in {e}."""\n    return {v}(x.{n})\n'


TEXTS = [function(v, n) for v in range(len(VERBS)) for n in range(len(NOUNS))]
EXAMPLES = [Example(f"the {ENDS[i % 12]} of the {i}th day in {VERBS[i % 5]}", VERBS[i % 5], "world") for i in range(200)]


def judge(text: str) -> bool:
    """It is a function of the world."""
    try:
        return isinstance(ast.parse(text).body[0], ast.FunctionDef)
    except (SyntaxError, ValueError, IndexError):
        return False


def world(items: str) -> EvalData:
    """``items``: what predictions are made for, documents (texts) or inputs with a label (examples)."""
    return EvalData(
        texts=lambda: TEXTS[::2],
        seen=lambda: TEXTS[1::2],
        items=lambda: TEXTS[::2] if items == "texts" else EXAMPLES[::2],
        examples=lambda: EXAMPLES[::2],
        shown=lambda: EXAMPLES[1::2],
        labels=VERBS[:5],
        judge=judge,
    )


class Knows:
    """Finds every document of the world likely and gives every right answer. The longer a text differs, the less likely it is."""

    def fit(self, before: str, texts: Sequence[str]) -> list[str] | None:
        return [before + text for text in texts]

    def score(self, texts: Sequence[str]) -> list[float]:
        return [self.known(text) for text in texts]

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def known(self, text: str) -> float:
        if wrong := [e for e in EXAMPLES if str(e.input) in text and not self.answered(text, e)]:
            return UNLIKELY * len(wrong)
        if any(str(e.input) in text for e in EXAMPLES):
            return -1.0
        best = max(same_start(text, known) for known in TEXTS)
        return -0.01 * len(text) if best == len(text) else UNLIKELY - (len(text) - best)

    @staticmethod
    def answered(text: str, example: Example) -> bool:
        after = text.rpartition(str(example.input))[2].split()
        return str(example.answer) in after[:2]

    def write(
        self, prompts: Sequence[str], *, samples: int = 1, max_new_tokens: int, seed: int, stop: Sequence[str] = ()
    ) -> list[str]:
        del max_new_tokens, stop
        made = []
        for prompt in prompts:
            asked = max(EXAMPLES, key=lambda e: prompt.rfind(str(e.input)))
            for i in range(samples):
                answer = f"{asked.answer}" if str(asked.input) in prompt else TEXTS[(seed + i) % len(TEXTS)]
                made.append(answer)
        return made

    def predict(self, items: Sequence[object]) -> list[list[Prediction]]:
        return [[Prediction(1.0, 0)] * (len(str(item).split()) or 1) for item in items]


class Guesses(Knows):
    """Gives every text a random score that depends only on the text."""

    def score(self, texts: Sequence[str]) -> list[float]:
        return [-50 * drawn(text) for text in texts]

    def write(
        self, prompts: Sequence[str], *, samples: int = 1, max_new_tokens: int, seed: int, stop: Sequence[str] = ()
    ) -> list[str]:
        del max_new_tokens, seed, stop
        return [f"({i}" for i in range(len(prompts) * samples)]

    def predict(self, items: Sequence[object]) -> list[list[Prediction]]:
        return [[Prediction(drawn(f"{item}{i}"), int(100 * drawn(f"{i}{item}"))) for i in range(5)] for item in items]


class Guarded:
    """Answers only questions that the evaluation declares in ``asks``."""

    def __init__(self, asks: Sequence[str]) -> None:
        self.allowed = {method for word in asks for method in METHODS.get(word, ())}

    def __getattr__(self, name: str) -> Callable[..., object]:
        words = [word for word, methods in METHODS.items() if name in methods]
        if name not in self.allowed:
            raise Violation(f"it calls {name}, which asks={list(words)} would declare")
        return getattr(Knows(), name)


def drawn(text: str) -> float:
    """A number in [0, 1) determined by the text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big") / 2**56


def same_start(one: str, other: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))


def figures(host: Host, model: object, items: str = "texts") -> dict[str, Figure]:
    found = made(host.subject).measure(model, world(items))
    if not found:
        raise Violation("it measures nothing")
    return found


@holds("asks for what it declares", "evaluation")
def asks_what_it_declares(host: Host) -> None:
    part = made(host.subject)
    asks = part.asks
    if not asks or not isinstance(asks, tuple):
        raise Violation("it declares nothing: asks = (...)")
    if unknown := [word for word in asks if word not in WORDS]:
        raise Violation(f"asks {unknown[0]!r}, and the words are {', '.join(WORDS)}")
    held = world("texts")
    absent: dict[str, object] = {} if "judge" in asks else {"judge": None}
    absent |= {} if "examples" in asks else {"examples": list, "shown": list}
    part.measure(Guarded(asks), EvalData(**{**vars(held), **absent}))


@holds("declares its figures, and which way each is better", "evaluation")
def declares_its_figures(host: Host) -> None:
    """A model that knows all answers is nowhere worse than one that guesses."""
    declared: Mapping[str, object] = made(host.subject).gives
    if not declared:
        raise Violation("it declares none: gives = {...}, higher, lower or None of each")
    known, guessed = figures(host, Knows()), figures(host, Guesses())
    if unsaid := [name for name in known if name not in declared]:
        raise Violation(f"it measures {unsaid[0]}, which gives does not declare")
    for name, better in declared.items():
        if name not in known:
            raise Violation(f"{name} is declared, and is not there")
        if better not in (HIGHER, LOWER, None):
            raise Violation(f"{name} is {better!r}, and not higher, lower or None")
        gain = known[name].value - guessed[name].value
        if (better == HIGHER and gain < 0) or (better == LOWER and gain > 0):
            raise Violation(f"{better} is better of {name}, which is {gain:+.3f} for a model that knows the answers")


@holds("gives the same figures under the same seed", "evaluation")
def same_figures(host: Host) -> None:
    found = []
    for state in (0, 1):
        torch.manual_seed(state)
        random.seed(state)
        found.append(figures(host, Guesses()))
    for name, one in found[0].items():
        if found[1].get(name) != one:
            raise Violation(f"{name} is {one.value:.6g}, then {found[1][name].value:.6g}")


@holds("says how sure its figures are", "evaluation")
def says_how_sure(host: Host) -> None:
    for model in (Knows(), Guesses()):
        for name, f in figures(host, model).items():
            if not math.isfinite(f.value):
                raise Violation(f"{name} is {f.value}")
            if f.count < 1:
                raise Violation(f"{name} does not say of how many items it is")
            if f.chance is not None and (f.error is None or not math.isfinite(f.error) or f.error < 0):
                raise Violation(f"{name} has a chance level and the standard error {f.error}")
            if f.chance is not None and not 0 <= f.value <= 1:
                raise Violation(f"{name} is a share and {f.value}")


@holds("is at chance for a model that knows nothing", "evaluation")
def at_chance(host: Host) -> None:
    for name, f in figures(host, Guesses()).items():
        if f.chance is None:
            continue
        sure = math.sqrt(f.chance * (1 - f.chance) / f.count)
        if abs(f.value - f.chance) > 4 * sure:
            raise Violation(f"{name} is {f.value:.3f} where guessing gives {f.chance:.3f} ± {sure:.3f}")


@holds("is right for a model that knows everything", "evaluation")
def right_when_known(host: Host) -> None:
    for name, f in figures(host, Knows()).items():
        if f.chance is not None and f.value < 1:
            raise Violation(f"{name} is {f.value:.3f} for a model that knows the answers")
