"""What a study was asked: the words of its command, kept beside it so that it can go on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path

from components.core.content import MOST
from components.core.errors import UserError, nearest
from components.core.files import read_json, write_json
from components.runs.metrics_file import VAL_LOSS
from components.studies.matching import STEPS
from components.studies.sequential import FIRST

FILE = "asked.json"
DOUBTLESS = "doubtless"
DRY = "dry"
MOST_SEEDS = 10_000
# what the command takes beside overrides
WORDS = ("seeds", "design", "match", "free", "tune", "tune_steps", "stop", "metric", "jobs", "launcher")


@dataclass(frozen=True)
class Asked:
    """The question. ``words``: the overrides; the rest as ``components.ablate`` takes it. How many seeds is no part of the question."""

    words: tuple[str, ...]
    seeds: int = 3
    design: str = "one"
    match: str | None = None
    free: str | None = None
    tune: str | None = None
    tune_steps: int | None = None
    stop: str | None = None
    metric: str = VAL_LOSS

    def check(self) -> Asked:
        """UserError for what cannot be, as far as it is known without a recipe."""
        if not 1 <= self.seeds <= MOST_SEEDS:
            raise UserError("seeds", f"{self.seeds!r} is no number from 1 to {MOST_SEEDS}")
        if self.stop not in (None, DOUBTLESS):
            raise UserError("stop", f"unknown rule {self.stop!r}", f"stop={DOUBTLESS}, or leave it out")
        if self.stop is not None and self.seeds <= FIRST:
            what = f"looks first after {FIRST} seeds, and with seeds={self.seeds} none are left to stop"
            raise UserError("stop", what, f"give seeds={2 * FIRST} or more, or leave it out")
        if self.free == STEPS and self.tune is not None and "trainer." in self.tune:
            raise UserError("tune", "tunes what is matched", "tune another option")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """The figure that decides, and those that are reported too."""
        return tuple(m.strip() for m in self.metric.split(",") if m.strip()) or (VAL_LOSS,)

    @property
    def typed(self) -> tuple[str, ...]:
        """The words of a command that asks the same; what stands at its default is left out, but for the seeds."""
        own = ((f.name, getattr(self, f.name), f.default) for f in fields(self) if f.name != "words")
        return (*self.words, *(f"{name}={value}" for name, value, default in own if value != default or name == "seeds"))

    def name(self, recipe: str) -> str:
        """Of the study's folder: the same for the same question, whatever the number of seeds."""
        question = {k: v for k, v in asdict(self).items() if k != "seeds"}
        return f"{recipe}_{hashlib.blake2b(json.dumps(question, sort_keys=True).encode(), digest_size=4).hexdigest()}"

    def write(self, folder: Path) -> None:
        write_json(folder / FILE, asdict(self))


def read_asked(folder: Path) -> Asked:
    """Of a study's folder.

    Raises:
        UserError: it is none.
    """
    file = folder / FILE
    if not file.is_file():
        raise UserError(str(folder), "is no study", "give the folder that components ablate has printed, or a study's words")
    held = read_json(file, most=MOST)
    if isinstance(held, dict) and "sizes" in held:
        raise UserError(str(folder), "is a study over sizes", "components scale goes on with it")
    try:
        return Asked(**{**held, "words": tuple(held["words"])}).check()
    except (TypeError, KeyError):
        raise UserError(str(file), "is damaged: it holds no study", "give the study's words again") from None


def find_study(name: str, studies: Path) -> Path:
    """The folder of a study: a path, or a name below ``studies``. UserError where there is none."""
    for folder in (Path(name).expanduser(), studies / name):
        if (folder / FILE).is_file():
            return folder
    known = sorted(f.parent.name for f in studies.glob(f"*/{FILE}"))
    if get_close_matches(name, [DRY]):
        raise UserError(name, "is no word of the command", f"did you mean {DRY}?")
    raise UserError(name, f"no such study (looked here and in {studies})", nearest(name, known, called="studies"))


def changed(asked: Asked, **words: object) -> Asked:
    """The same question with more seeds or another rule of when to stop. UserError for anything that would make it another question."""
    other = [k for k, v in words.items() if v is not None and k in {f.name for f in fields(Asked)} - {"seeds"}]
    if other:
        raise UserError(
            other[0], "is part of the study's question", "leave it out, or begin another study: shared runs are kept"
        )
    seeds = words.get("seeds")
    return asked if seeds is None else replace(asked, seeds=seeds).check()  # type: ignore[arg-type]  # check() says what is none
