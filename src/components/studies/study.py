"""What a study is: its question, its variants and its runs, as ``study.json`` holds them. What differs from run to run is in ``speeds.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from components.core.config_types import Config
from components.core.content import MOST
from components.core.errors import UserError
from components.core.files import read_json, write_json, write_text

STUDY, SPEEDS = "study.json", "speeds.json"
VERSION = 1
REPORTED, TUNING = "reported", "tuning"
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class StudyRun:
    """One training.

    Args:
        variant: the name of what was trained.
        seed: of the run.
        role: ``reported``, or ``tuning``: a short run that only chooses values.
        options: what was tuned for this run.
        folder: of the run, relative to the study's.
        state: ``done`` or ``failed``.
        error: why it failed, in one line.
        figures: all final figures that do not depend on the machine's speed.
        curve: ``step`` and ``val_loss`` (and the study's own metrics): lists of equal length.
    """

    variant: str
    seed: int
    role: str = REPORTED
    options: Mapping[str, object] = field(default_factory=dict)
    folder: str = ""
    state: str = DONE
    error: str | None = None
    figures: Mapping[str, float | None] = field(default_factory=dict)
    curve: Config = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """What is compared.

    Args:
        name: ``recipe``, or the overrides that make it.
        is_recipe: what all others are compared with.
        overrides: of the recipe with the study's fixed words.
        solved: {option: (from, to)} that the matched budget changed.
        parameters: of the model.
        flops_per_token: of training, forward and backward.
        steps: of optimisation.
        difference: from the recipe, a line for each part or value.
        tuned: {option: value} that tuning chose.
        stopped_after: seeds after which it was behind beyond doubt; None: it was not.
    """

    name: str
    is_recipe: bool = False
    overrides: tuple[str, ...] = ()
    solved: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    parameters: int = 0
    flops_per_token: float = 0.0
    steps: int = 0
    difference: tuple[str, ...] = ()
    tuned: Mapping[str, object] | None = None
    stopped_after: int | None = None


@dataclass(frozen=True)
class Refused:
    """A combination that is not trained, and why."""

    overrides: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Study:
    """All of it. ``metric`` decides, ``secondary`` figures are reported too; ``match`` and ``tune`` are as docs/ablate.md has them."""

    recipe: str
    words: tuple[str, ...]
    variants: tuple[Variant, ...]
    runs: tuple[StudyRun, ...]
    metric: str = "val_loss"
    secondary: tuple[str, ...] = ()
    lower_is_better: bool = True
    design: str = "one"
    match: Mapping[str, object] | None = None
    tune: Mapping[str, object] | None = None
    seeds: tuple[int, ...] = ()
    stop: str | None = None
    refused: tuple[Refused, ...] = ()
    version: int = VERSION

    def variant(self, name: str) -> Variant:
        return next(v for v in self.variants if v.name == name)

    def write(self, folder: Path) -> None:
        """``study.json``: the same bytes whenever the same study ends."""
        text = json.dumps(_plain(asdict(self)), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        write_text(folder / STUDY, text + "\n")


@dataclass(frozen=True)
class Speed:
    """What differs from run to run: seconds of training, and the most memory of the process."""

    variant: str
    seed: int
    seconds: float | None = None
    tokens_per_second: float | None = None
    peak_bytes: int | None = None


def read_study(folder: Path) -> Study:
    """Of ``study.json``.

    Raises:
        UserError: it is missing, damaged, or of a later version.
    """
    file = folder / STUDY
    held = read_json(file, most=MOST)
    try:
        if held["version"] != VERSION:
            raise UserError(str(file), f"is of version {held['version']}, and this one reads {VERSION}", "use a newer release")
        variants = tuple(
            Variant(**{**_tuples(v, "overrides", "difference"), "solved": {k: tuple(n) for k, n in v["solved"].items()}})
            for v in held["variants"]
        )
        return Study(
            **{
                **_tuples(held, "words", "secondary", "seeds"),
                "variants": variants,
                "runs": tuple(StudyRun(**r) for r in held["runs"]),
                "refused": tuple(Refused(tuple(r["overrides"]), r["reason"]) for r in held["refused"]),
            }
        )
    except (KeyError, TypeError, AttributeError) as e:
        raise UserError(str(file), f"is damaged: it holds no study ({e})", "run the study again: its runs are kept") from None


def write_speeds(folder: Path, speeds: Sequence[Speed]) -> None:
    write_json(folder / SPEEDS, [asdict(s) for s in speeds])


def read_speeds(folder: Path) -> list[Speed]:
    """Of ``speeds.json``; empty where there is none."""
    file = folder / SPEEDS
    known = {f.name for f in fields(Speed)}
    try:
        return (
            [Speed(**{k: v for k, v in s.items() if k in known}) for s in read_json(file, most=MOST)] if file.exists() else []
        )
    except (TypeError, AttributeError):
        raise UserError(str(file), "is damaged: it holds no speeds", "remove it and run the study again") from None


def _tuples(held: Config, *names: str) -> Config:
    return {**held, **{n: tuple(held[n]) for n in names}}


def _plain(value: object) -> object:
    """JSON knows no nan and no inf: they are null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
