"""What the ladder would have said of its own dearest size, had that not been trained: how far a law of these sizes can be trusted beyond them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from components.studies.sizes.law import COMPUTE, NAMES, Point, fit
from components.studies.statistics import Interval


@dataclass(frozen=True)
class Backtest:
    """The law of all sizes but the dearest, asked for that one.

    Args:
        parameters: of the size that was held back.
        tokens: of its training.
        form: of the law of the others.
        loss: what that law says of it.
        interval: 95 % of the mean of its runs; None where the others have no more runs than the law constants.
        found: the mean loss of its runs.
    """

    parameters: int
    tokens: int
    form: str
    loss: float
    interval: Interval | None
    found: float

    @property
    def off(self) -> float:
        """What was found minus what the others say."""
        return self.found - self.loss

    @property
    def within(self) -> bool | None:
        """Whether what was found lies in the interval."""
        return None if self.interval is None else self.interval[0] <= self.found <= self.interval[1]

    def data(self) -> dict[str, object]:
        interval = None if self.interval is None else list(self.interval)  # as JSON has it
        return {**asdict(self), "interval": interval, "off": self.off, "within": self.within}


def backtest(points: Sequence[Point]) -> Backtest | None:
    """None where fewer than three costs are left, which fix no law."""
    dearest = max(p.flops for p in points)
    held, others = [p for p in points if p.flops == dearest], [p for p in points if p.flops != dearest]
    if len({p.flops for p in others}) < len(NAMES[COMPUTE]):
        return None
    law, one = fit(others), held[0]
    cost = one.parameters, one.tokens, one.flops
    found = fmean(p.loss for p in held)
    return Backtest(one.parameters, one.tokens, law.form, law.loss(*cost), law.interval(*cost, len(held)), found)


def sentence(found: Backtest | None, size: str) -> str:
    """In one line, of the size by its name."""
    if found is None:
        return "Not tested on itself: without its dearest size the ladder has fewer than three costs. Take another size to see how far off it is there."
    between = "no interval" if found.interval is None else f"{found.interval[0]:.4f} to {found.interval[1]:.4f}"
    said = (
        f"Tested on itself: without {size} the ladder says {found.loss:.4f} ({between}) of it, and {found.found:.4f} was found"
    )
    said += f": off by {found.off / found.found:+.2%}"
    if found.within is False:
        return f"{said}, outside the interval. More than noise moves these points, so the interval of the next size is too narrow as well."
    return f"{said}."
