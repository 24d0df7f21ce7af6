"""The prediction of a size that was not trained yet, which is written before its run begins, and how far off it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import fmean

from components.core.content import MOST
from components.core.files import read_json, write_json
from components.studies.sizes.law import Law, Point
from components.studies.statistics import Interval
from components.studies.study import Variant

FILE = "prediction.json"


@dataclass(frozen=True)
class Prediction:
    """What the ladder says of the next size.

    Args:
        size: its name.
        parameters: of the model.
        tokens: of its training.
        flops: of its training.
        form: of the law.
        loss: predicted.
        interval: 95 % of the mean over ``seeds`` runs; None where the ladder has no more runs than the law constants.
        seeds: runs that it is compared with.
        before: it was written while none of these runs was there.
        found: their mean loss; None: not trained.
    """

    size: str
    parameters: int
    tokens: int
    flops: float
    form: str
    loss: float
    interval: Interval | None
    seeds: int
    before: bool
    found: float | None = None

    @property
    def off(self) -> float | None:
        """What was found minus what was predicted."""
        return None if self.found is None else self.found - self.loss

    @property
    def within(self) -> bool | None:
        """Whether what was found lies in the interval."""
        return None if self.found is None or self.interval is None else self.interval[0] <= self.found <= self.interval[1]

    def data(self) -> dict[str, object]:
        interval = None if self.interval is None else list(self.interval)  # as JSON has it
        return {**asdict(self), "interval": interval, "off": self.off, "within": self.within}

    @property
    def sentence(self) -> str:
        """In one line: what was predicted, and how far off it was."""
        between = "" if self.interval is None else f" ({self.interval[0]:.4f} to {self.interval[1]:.4f})"
        said = f"{self.size} with {self.tokens:,} tokens: {self.loss:.4f}{between} predicted"
        if self.found is None or self.off is None:
            return f"{said}, not trained: add next={self.size.partition(' ')[0]}"
        side = {None: "no interval", True: "within the interval", False: "outside the interval"}[self.within]
        late = "" if self.before else "; this prediction was made when a run of it was there"
        return f"{said}, {self.found:.4f} found: off by {self.off:+.4f} ({self.off / self.found:+.2%}), {side}{late}"


def cost_of(variant: Variant, tokens_per_step: int) -> tuple[int, int, float]:
    """(parameters, tokens, FLOPs) of its training."""
    tokens = variant.steps * tokens_per_step
    return variant.parameters, tokens, variant.flops_per_token * tokens


def predict(law: Law, variant: Variant, tokens_per_step: int, seeds: int, *, before: bool) -> Prediction:
    cost = cost_of(variant, tokens_per_step)
    return Prediction(variant.name, *cost, law.form, law.loss(*cost), law.interval(*cost, seeds), seeds, before)


def foretell(folder: Path, made: Prediction) -> Prediction:
    """Write it, before the run starts. The same one that was written before its runs began stays what it was."""
    file = folder / FILE
    if not made.before and file.is_file():
        held = read_json(file, most=MOST)
        same = isinstance(held, dict) and all(
            held.get(f.name) == made.data()[f.name] for f in fields(made) if f.name != "before"
        )
        made = replace(made, before=same and held.get("before") is True)
    write_json(file, made.data())
    return made


def compared(made: Prediction, losses: Sequence[float]) -> Prediction:
    """With the mean of what was found, if anything was."""
    return replace(made, found=fmean(losses)) if losses else made


def points_of(losses: Sequence[tuple[Variant, float]], tokens_per_step: int) -> list[Point]:
    return [Point(*cost_of(v, tokens_per_step), loss) for v, loss in losses]
