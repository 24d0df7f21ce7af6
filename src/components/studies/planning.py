"""The plan of a study: which variants there are, what each costs, and what is refused and why. Everything on meta, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.compose.difference import difference
from components.core.config_types import Config
from components.core.errors import Mistyped, UserError
from components.studies import pool
from components.studies.asked import Asked
from components.studies.design import Combination, Words, combinations_of, sorted_words
from components.studies.matching import Match, Solved, solve
from components.studies.metrics import apart
from components.studies.study import Refused, Variant
from components.studies.subjects import Built, build
from components.studies.tuning import LEAST, SEED, SHORT, Tune, parse_tune, settings

RECIPE = "recipe"
SAME = "is the"  # how the reason begins of a choice that changes nothing

Measure = Callable[[Mapping[str, Built]], Mapping[str, float]]  # {variant: as built} -> {variant: seconds of a step}


@dataclass(frozen=True)
class Plan:
    """What will be trained.

    Args:
        recipe: the recipe with the study's fixed words.
        built: {variant: as it will be trained}, the recipe first.
        variants: likewise, as ``study.json`` says them.
        refused: what is not trained, and why.
        match: the budget that is equal.
        tune: what is tuned.
        seeds: those that are reported.
    """

    recipe: Built
    built: Mapping[str, Built]
    variants: tuple[Variant, ...]
    refused: tuple[Refused, ...]
    match: Match | None
    tune: Tune | None
    seeds: tuple[int, ...]


def plan(asked: Asked, cwd: Path, measure: Measure) -> Plan:
    """Design, compose, build, match.

    Args:
        asked: the question.
        cwd: what relative paths are relative to.
        measure: asked for the seconds of steps where time is matched.

    Raises:
        UserError: the recipe cannot be trained, a choice is mistyped, or there is nothing left to compare.
    """
    match = Match.of(asked.match, asked.free)
    words = sorted_words(apart(asked.words)[0], cwd)
    combinations = combinations_of(asked.design, words.axes)
    recipe = build(words.fixed, cwd)
    tune = tune_of(asked, recipe)
    refused: list[Refused] = []
    built: dict[str, Built] = {}
    known = {pool.key(recipe.config): RECIPE}
    for combination in combinations:
        try:
            made = _built(combination, words, tune, cwd)
        except Mistyped:  # before hours that compare less than was meant
            raise
        except UserError as e:
            refused.append(Refused(combination, _line(e)))
            continue
        same = known.setdefault(pool.key(made.config), name_of(combination))
        if same == name_of(combination):
            built[same] = made
        else:
            refused.append(Refused(combination, f"{SAME} recipe as it is" if same == RECIPE else f"{SAME} same as {same}"))
    _need_axes(words.axes, refused)
    solved, lost = _matched(recipe, built, match, measure)
    refused += [Refused(_combination(name, combinations), reason) for name, reason in lost.items()]
    final, variants = {RECIPE: recipe}, [_variant(RECIPE, (), recipe, recipe, Solved())]
    for name, made in built.items():
        if name in lost:
            continue
        found = solved.get(name, Solved())
        final[name] = build((*made.overrides, *found.overrides), cwd) if found.overrides else made
        variants.append(_variant(name, _combination(name, combinations), final[name], recipe, found))
    if len(variants) == 1:
        # a mistake is told before a choice that changes nothing
        shown = next((r for r in refused if not r.reason.startswith(SAME)), refused[0])
        first = f"{' '.join(shown.overrides)}: {shown.reason}"
        raise UserError("components ablate", f"no variant can be trained ({first})", "name others")
    first = int(recipe.config["seed"])
    seeds = tuple(range(first, first + asked.seeds))
    return Plan(recipe, final, tuple(variants), tuple(refused), match, tune, seeds)


def _need_axes(axes: Sequence[Combination], refused: Sequence[Refused]) -> None:
    """UserError where one of several words would compare nothing, since each of its values is refused, whatever the others are."""
    why = {r.overrides: r.reason for r in refused if not r.reason.startswith(SAME)}
    for axis in axes if len(axes) > 1 else ():
        if all((choice,) in why for choice in axis):
            option = axis[0].partition("=")[0]
            raise UserError(
                "components ablate", f"nothing of {option} can be trained ({axis[0]}: {why[axis[0],]})", "name others"
            )


def name_of(combination: Combination) -> str:
    return " ".join(combination)


def tune_of(asked: Asked, recipe: Built) -> Tune | None:
    """What is tuned, and by how long runs. UserError where the recipe has no such option."""
    if asked.tune is None:
        if asked.tune_steps is not None:
            raise UserError("tune_steps", "nothing is tuned", "add tune=optimizer.lr:3")
        return None
    options, factors = parse_tune(asked.tune)
    steps = asked.tune_steps or min(recipe.steps, max(LEAST, recipe.steps // SHORT))
    tune = Tune(options, factors, int(recipe.config["seed"]) + SEED, steps)
    settings(tune, recipe.config)
    return tune


def _built(combination: Combination, words: Words, tune: Tune | None, cwd: Path) -> Built:
    made = build((*words.fixed, *combination), cwd)
    if tune is not None:
        settings(tune, made.config)
    return made


def _matched(
    recipe: Built, built: Mapping[str, Built], match: Match | None, measure: Measure
) -> tuple[dict[str, Solved], dict[str, str]]:
    """({variant: what was solved}, {variant: why it cannot be})."""
    solved: dict[str, Solved] = {}
    lost: dict[str, str] = {}
    if match is None:
        return solved, lost
    seconds = measure({RECIPE: recipe, **built}) if match.budget == "time" else {}
    for name, made in built.items():
        own: Config | None = {"recipe": seconds[RECIPE], "variant": seconds[name]} if seconds else None
        try:
            solved[name] = solve(made, recipe, match, own)
        except UserError as e:
            lost[name] = _line(e)
    return solved, lost


def _combination(name: str, combinations: Sequence[Combination]) -> Combination:
    return next(c for c in combinations if name_of(c) == name)


def _variant(name: str, combination: Combination, made: Built, recipe: Built, solved: Solved) -> Variant:
    return Variant(
        name,
        name == RECIPE,
        (*combination, *solved.overrides),
        dict(solved.changed or {}),
        made.subject.parameters,
        made.subject.flops_per_token,
        made.steps,
        tuple(difference(recipe.config, made.config)),
    )


def _line(error: UserError) -> str:
    return " ".join(str(error).split())
