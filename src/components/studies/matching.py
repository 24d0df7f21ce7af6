"""Equal budgets: one free width is solved for each variant, on the meta device, until parameters or FLOPs agree with the recipe's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.compose.request import Request
from components.core.config_types import Config
from components.core.errors import UserError
from components.studies.subjects import Built, build
from components.training.estimate.estimating import Subject

BUDGETS = ("parameters", "flops", "time")
WIDTH, STEPS = "model.ffn.d_ff", "trainer.max_steps"
TOLERANCE = 0.005
AROUND = 64  # integers on either side of one that a part refuses that are tried instead
MOST, BUILDS = 2**24, 60  # of a width; of models that are built for one answer


@dataclass(frozen=True)
class Match:
    """What is made equal.

    Args:
        budget: ``parameters``, ``flops`` (of training, per token) or ``time``.
        free: the integer option that is solved; the default means the width of every feed-forward, in the ratio that they have.
        tolerance: the largest share by which budgets may differ.
    """

    budget: str
    free: str = WIDTH
    tolerance: float = TOLERANCE

    @classmethod
    def of(cls, budget: str | None, free: str | None) -> Match | None:
        """From the words ``match=`` and ``free=``; None for ``match=none``.

        Raises:
            UserError: there is no such budget, or what is free does not change it.
        """
        if budget in (None, "none", "null"):
            if free is not None:
                raise UserError("free", "nothing is matched", f"add match={BUDGETS[0]}")
            return None
        if budget not in BUDGETS:
            raise UserError("match", f"unknown budget {budget!r}", f"one of {', '.join(BUDGETS)}, none")
        free = free or (STEPS if budget == "time" else WIDTH)
        if budget == "time" and free != STEPS:
            what = "is matched by the number of steps, since a width does not tell how long a step takes"
            raise UserError("match=time", what, "leave free= out")
        if budget == "parameters" and free == STEPS:
            raise UserError("free", "the number of steps changes no parameters", f"free={WIDTH}, say")
        return cls(budget, free)


@dataclass(frozen=True)
class Solved:
    """``overrides`` to add, and ``changed``: {option: (from, to)}."""

    overrides: tuple[str, ...] = ()
    changed: Mapping[str, tuple[int, int]] | None = None


def cost(subject: Subject, budget: str) -> float:
    """The budget that a model takes: parameters, or training FLOPs per token."""
    return float(subject.parameters) if budget == "parameters" else subject.flops_per_token


def solve(variant: Built, recipe: Built, match: Match, own: Config | None = None) -> Solved:
    """The free width that gives ``variant`` the recipe's budget; nothing where the budgets agree already.

    Args:
        variant: composed as it was asked for.
        recipe: whose budget it gets.
        match: what is made equal.
        own: seconds of a step of {variant, recipe} where time is matched.

    Raises:
        UserError: the variant cannot reach it; the message says what comes nearest.
    """
    if match.free == STEPS:
        return _steps(variant, recipe, match, own)
    target, has = cost(recipe.subject, match.budget), cost(variant.subject, match.budget)
    if abs(has / target - 1) <= match.tolerance:
        return Solved()
    widths = widths_of(variant, match)
    if any(widths_of(recipe, match, quiet=True).get(p, n) != n for p, n in widths.items()):
        raise UserError(
            match.free, f"is changed by the variant, and match={match.budget} would undo it", "free= another option"
        )

    def budget(values: Mapping[str, int]) -> float | None:
        return cost_with(variant, values, match.budget)

    start = int(variant.config["model"].get("d_model") or 64)
    known = {p: n if n is not None else _default(lambda m, p=p: budget({p: m}), has, start) for p, n in widths.items()}
    known = {p: n for p, n in known.items() if n is not None}
    if not known:
        raise UserError(match.free, f"does not change {match.budget}", "free= an option that does")
    largest = max(known, key=lambda p: known[p])

    def scaled(n: int) -> dict[str, int]:
        return {p: max(1, round(n * own / known[largest])) for p, own in known.items()}

    n, reached = nearest(lambda n: budget(scaled(n)), target, known[largest])
    if abs(reached / target - 1) > match.tolerance:
        near = f"{', '.join(f'{p}={v}' for p, v in scaled(n).items())} gives {reached:,.0f}, {reached / target - 1:+.2%}"
        raise UserError(f"match={match.budget}", f"{target:,.0f} cannot be reached: {near}", "free= another option")
    to = scaled(n)
    return Solved(tuple(f"{p}={v}" for p, v in to.items()), {p: (known[p], to[p]) for p in to})


def _steps(variant: Built, recipe: Built, match: Match, own: Config | None) -> Solved:
    if match.budget == "time":
        if own is None:
            raise UserError("match=time", "measures steps first, and one run has nothing to compare", "use components ablate")
        share = own["recipe"] / own["variant"]
    else:
        share = cost(recipe.subject, match.budget) / cost(variant.subject, match.budget)
    to = max(1, round(recipe.steps * share))
    if abs(to / (recipe.steps * share) - 1) > match.tolerance:
        raise UserError(f"match={match.budget}", f"{recipe.steps} steps are too few to match by steps", "train longer")
    return Solved() if to == variant.steps else Solved((f"{STEPS}={to}",), {STEPS: (variant.steps, to)})


def widths_of(built: Built, match: Match, *, quiet: bool = False) -> dict[str, int | None]:
    """{path of the option: its value} of what is free; null is kept. UserError where there is none, unless ``quiet``."""
    if match.free == WIDTH:
        name = WIDTH.rpartition(".")[2]
        found = {p: n for p, n in _options(built.config["model"], "model") if p.rpartition(".")[2] == name}
    else:
        found = {p: n for p, n in _options(built.config, "") if p == match.free}
    whole = {p: n for p, n in found.items() if n is None or (isinstance(n, int) and not isinstance(n, bool))}
    if not whole and not quiet:
        what = "has no feed-forward with a width d_ff" if match.free == WIDTH else "has no such integer option"
        raise UserError(match.free, f"this variant {what}", "name one that it has: free=model.attention.n_heads, say")
    return whole


def _options(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        place = f"{path}.{key}".lstrip(".")
        if isinstance(value, Mapping):
            yield from _options(value, place)
        else:
            yield place, value


def cost_with(built: Built, values: Mapping[str, int], budget: str) -> float | None:
    """None where a part refuses one of the values."""
    config = deepcopy(built.config)
    for path, value in values.items():
        *above, last = path.split(".")
        node = config
        for key in above:
            node = node[key]
        node[last] = value
    try:
        return cost(Subject(config, built.subject.vocab_size), budget)
    except UserError:
        return None


def _default(budget: Callable[[int], float | None], has: float, start: int) -> int | None:
    """The integer that means the same as null; None where it changes nothing."""
    few, more = budget(1), budget(2 * start)
    if few is not None and few == more:
        return None
    return nearest(budget, has, start)[0]


def nearest(budget: Callable[[int], float | None], target: float, start: int) -> tuple[int, float]:
    """(n, budget of n) that comes nearest to ``target``, of a budget that grows with n and is None for an n that cannot be.

    A bracket is doubled or halved from ``start``, then narrowed by the line between its ends and by halves, in turn.

    Raises:
        UserError: no integer around ``start`` is allowed.
    """
    seen: dict[int, float | None] = {}

    def at(n: int) -> float | None:
        if n not in seen:
            seen[n] = budget(n)
        return seen[n]

    def legal(n: int, low: int, high: int) -> int | None:
        around = (m for d in range(AROUND + 1) for m in {n + d, n - d} if low < m < high)
        return next((m for m in sorted(around, key=lambda m: (abs(m - n), m)) if at(m) is not None), None)

    first = legal(max(1, start), 0, MOST)
    if first is None:
        raise UserError("match", f"no integer near {start} is allowed", "free= another option")
    low, high = (first, None) if (at(first) or 0.0) <= target else (0, first)
    while high is None and low < MOST:
        up = legal(2 * low, low, MOST)
        if up is None:
            break
        low, high = (up, None) if (at(up) or 0.0) < target else (low, up)
    while low == 0 and high is not None and high > 1:
        down = legal(high // 2, 0, high)
        if down is None:
            break
        low, high = (0, down) if (at(down) or 0.0) > target else (down, high)
    while low and high is not None and high - low > 1 and len(seen) < BUILDS:
        ends = (at(low) or 0.0, at(high) or 0.0)
        line = low + round((target - ends[0]) / ((ends[1] - ends[0]) or 1.0) * (high - low))
        guess = (low + high) // 2 if len(seen) % 3 == 0 else min(high - 1, max(low + 1, line))
        middle = legal(guess, low, high)
        if middle is None:
            break
        low, high = (middle, high) if (at(middle) or 0.0) <= target else (low, middle)
    return min(((n, v) for n, v in seen.items() if v is not None), key=lambda found: (abs(found[1] - target), found[0]))


def match_one(overrides: list[str], budget: str | None, free: str | None) -> list[str]:
    """The overrides of one run, and those that give it the budget of its recipe alone.

    Raises:
        UserError: it cannot be reached, or the run goes on with another one.
    """
    match, request = Match.of(budget, free), Request.of(overrides)
    if match is None:
        return overrides
    if request.resume:
        raise UserError("match", "resume= goes on with the run's own config", "leave match= out")
    words = [a.typed for a in request.arguments]
    alone = [a.typed for a in request.arguments if a.path[0] in ("recipe", "trainer", "task", "data", "tokenizer")]
    return [*overrides, *solve(build(words, Path.cwd()), build(alone, Path.cwd()), match).overrides]
