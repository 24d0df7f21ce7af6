"""Equal tuning for all: the same few values for every variant, short runs on a seed that is not reported, and each takes its own best."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from components.compose.grammar import flat, read_value
from components.core.config_types import Config
from components.core.errors import UserError
from components.studies.study import DONE, StudyRun

SEED = 1_000_000  # far from the seeds that are reported
SHORT, LEAST = 4, 20  # tuning runs take a quarter of the steps, 20 at least
_OPTION = re.compile(r"([\w.]+):(\[[^\]]*\]|[^,\[\]]+)(?:,|$)")


@dataclass(frozen=True)
class Tune:
    """``options``: {option: its values, or factors of a variant's own value where ``factors`` names it}.

    ``steps``: of a tuning run; None: a quarter of the variant's own, where variants are trained for different lengths.
    """

    options: Mapping[str, tuple[float, ...]]
    factors: tuple[str, ...]
    seed: int
    steps: int | None

    def steps_of(self, own: int) -> int:
        """Of a tuning run of a variant that is trained for ``own`` steps."""
        return min(own, max(LEAST, own // SHORT)) if self.steps is None else self.steps

    def data(self) -> Config:
        return {"options": {p: list(v) for p, v in self.options.items()}, "seed": self.seed, "steps": self.steps}


def parse_tune(text: str) -> tuple[dict[str, tuple[float, ...]], tuple[str, ...]]:
    """``optimizer.lr:3`` (three factors around what the variant has: 1/2, 1, 2) or ``optimizer.lr:[1e-3,3e-3]``, several with commas.

    Raises:
        UserError: it is neither.
    """
    options, factors, place = {}, [], 0
    while place < len(text):
        found = _OPTION.match(text, place)
        if found is None:
            raise UserError(
                "tune", f"{text!r} is no option with values", "write tune=optimizer.lr:3 or optimizer.lr:[1e-3,3e-3]"
            )
        path, said, place = found[1], found[2], found.end()
        value = read_value(said, f"tune={text}")
        if path in options:
            raise UserError("tune", f"{path} is named twice", "name each option once")
        if isinstance(value, int) and not isinstance(value, bool) and value >= 2:
            options[path] = tuple(2.0 ** (i - (value - 1) // 2) for i in range(value))
            factors.append(path)
        elif isinstance(value, list) and len(value) > 1 and all(isinstance(v, (int, float)) for v in value):
            options[path] = tuple(value)
        else:
            raise UserError(
                "tune", f"{path}:{said} gives nothing to choose from", f"{path}:3, or two values: {path}:[1e-3,3e-3]"
            )
    return options, tuple(factors)


def settings(tune: Tune, config: Config) -> list[dict[str, object]]:
    """The settings that a variant tries: every combination of the options' values.

    Raises:
        UserError: the variant has no such option, or no number there to multiply.
    """
    had = flat(config)
    for path in tune.options:
        if path not in had:
            raise UserError(path, "is to be tuned, and this variant has no such option", "tune what all variants have")
        if path in tune.factors and (not isinstance(had[path], (int, float)) or isinstance(had[path], bool)):
            raise UserError(path, f"is {had[path]!r}, which has no multiples", f"give values: tune={path}:[...]")
    lists = [[_rounded(had[p] * v) if p in tune.factors else v for v in values] for p, values in tune.options.items()]
    return [dict(zip(tune.options, values)) for values in product(*lists)]


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def words_of(options: Mapping[str, object]) -> list[str]:
    return [f"{path}={value}" for path, value in options.items()]


def best(runs: Sequence[StudyRun], metric: str, *, lower: bool) -> dict[str, object] | None:
    """What the best tuning run had; None if all failed. Of equal ones the first."""

    def order(run: StudyRun) -> float:
        value = run.figures.get(metric)
        if run.state != DONE or value is None or not math.isfinite(value):
            return math.inf
        return value if lower else -value

    found = min(runs, key=order, default=None)
    return None if found is None or order(found) == math.inf else dict(found.options)
