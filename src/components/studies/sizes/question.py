"""What a study over sizes was asked, and the sizes that it names."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from components.core.content import MOST
from components.core.errors import UserError
from components.core.files import read_json, write_json
from components.runs.metrics_file import VAL_LOSS
from components.studies.asked import FILE, MOST_SEEDS
from components.studies.metrics import evaluation_of, lower

# what the command takes beside overrides
WORDS = ("sizes", "next", "tokens", "grow", "rate", "tune", "tune_steps", "metric", "seeds", "jobs", "launcher")
LEAST_SIZES = 3  # the constants of a law over FLOPs
RECIPE = "recipe"  # tokens: as many as the recipe's, for every size
MUP, OWN = "mup", "own"
WIDTH, BOTH = "width", "both"
_SIZE = re.compile(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*([kMB]?)")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9}


@dataclass(frozen=True)
class Question:
    """As ``components.scale`` takes it. How many seeds, and which size comes next, are no part of the question."""

    words: tuple[str, ...]
    sizes: str = "4"
    next: str | None = None
    tokens: str | None = None
    grow: str | None = None
    rate: str | None = None
    tune: str | None = None
    tune_steps: int | None = None
    metric: str = VAL_LOSS
    seeds: int = 1

    def check(self) -> Question:
        """UserError for what cannot be, as far as it is known without a recipe."""
        if not 1 <= self.seeds <= MOST_SEEDS:
            raise UserError("seeds", f"{self.seeds!r} is no number from 1 to {MOST_SEEDS}")
        for word, value, known in (("grow", self.grow, (WIDTH, BOTH)), ("rate", self.rate, (MUP, OWN))):
            if value not in (None, *known):
                raise UserError(word, f"unknown value {value!r}", f"one of {', '.join(known)}")
        if self.tune_steps is not None and self.tune is None:
            raise UserError("tune_steps", "nothing is tuned", "add tune=optimizer.lr:3")
        if evaluation_of(self.metric) is not None or not lower(self.metric):
            raise UserError(
                "metric", f"{self.metric!r} is no loss: a law says how one falls", "metric=val_loss, or val_bits_per_byte"
            )
        parameters_of(self.sizes, 1)
        ratios_of(self.tokens)
        if self.next is not None:
            size_of(self.next, "next")
        return self

    @property
    def mup(self) -> bool:
        """Whether rates follow muP: unless each size tunes its own, or keeps the recipe's."""
        return self.rate == MUP or (self.rate is None and self.tune is None)

    @property
    def deeper(self) -> bool:
        """Whether depth grows with the width: muP's rules hold for widths alone."""
        return self.grow == BOTH or (self.grow is None and not self.mup)

    @property
    def typed(self) -> tuple[str, ...]:
        own = ((f.name, getattr(self, f.name), f.default) for f in fields(self) if f.name != "words")
        return (*self.words, *(f"{n}={v}" for n, v, default in own if v != default or n in ("sizes", "seeds")))

    def name(self, recipe: str) -> str:
        """Of the study's folder."""
        question = {k: v for k, v in asdict(self).items() if k not in ("seeds", "next")}
        told = hashlib.blake2b(json.dumps(question, sort_keys=True).encode(), digest_size=4).hexdigest()
        return f"{recipe}_sizes_{told}"

    def write(self, folder: Path) -> None:
        write_json(folder / FILE, asdict(self))


def read_question(folder: Path) -> Question:
    """Of the folder of a study over sizes.

    Raises:
        UserError: it is none.
    """
    file = folder / FILE
    held = read_json(file, most=MOST)
    try:
        return Question(**{**held, "words": tuple(held["words"])}).check()
    except (TypeError, KeyError):
        raise UserError(str(file), "holds no study over sizes", "components ablate goes on with what it made itself") from None


def going_on(asked: Question, seeds: int | None, beyond: str | None, **others: object) -> Question:
    """The same question with more seeds, or about another next size. UserError for a word that would make it another question."""
    given = [name for name, value in others.items() if value]
    if given:
        raise UserError(
            given[0], "is part of the study's question", "leave it out, or begin another study: shared runs are kept"
        )
    return replace(asked, seeds=seeds or asked.seeds, next=beyond or asked.next).check()


def size_of(text: str, word: str) -> int:
    """``0.5M``, ``200k``, ``1e6``: a number of parameters. UserError where it is none."""
    found = _SIZE.fullmatch(text.strip())
    size = round(float(found[1]) * _UNITS[found[2]]) if found else 0
    if size < 1:
        raise UserError(word, f"{text!r} is no number of parameters", f"write {word}=0.5M, 200k or 500000")
    return size


def counted(text: str) -> bool:
    """Whether it says how many sizes there are, and not which."""
    return text.strip().isdigit() and int(text) <= 100


def parameters_of(text: str, own: int) -> list[int]:
    """Wanted sizes, the least first. A plain number of them up to a hundred: so many, each twice the one before, the last the recipe's ``own``.

    Raises:
        UserError: fewer than three, or one twice.
    """
    if counted(text):
        found = [round(own / 2**i) for i in reversed(range(int(text)))]
    else:
        found = sorted(size_of(t, "sizes") for t in text.strip("[]").split(","))
        if len(set(found)) != len(found):
            raise UserError("sizes", "names one size twice", "name each once")
    if len(found) < LEAST_SIZES:
        raise UserError("sizes", f"{text!r} gives fewer than {LEAST_SIZES}, and a law has {LEAST_SIZES} constants", "sizes=4")
    return found


def ratios_of(text: str | None) -> list[float] | None:
    """Tokens for each parameter, one or more; None where they follow from the recipe. UserError where these are no numbers."""
    if text in (None, RECIPE):
        return None
    try:
        found = sorted({float(t) for t in text.strip("[]").split(",")})
    except ValueError:
        found = []
    if not found or not all(0 < r < 1e9 for r in found):
        raise UserError("tokens", f"{text!r} is no number of tokens for each parameter", f"tokens=20, 5,10,20 or {RECIPE}")
    return found
