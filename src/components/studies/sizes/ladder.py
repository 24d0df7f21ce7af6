"""The rungs of a ladder: widths (and depths) that give wanted numbers of parameters, in the recipe's proportions, found on the meta device."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from components.compose.difference import difference
from components.compose.grammar import flat
from components.core.errors import UserError
from components.core.model_tree import short
from components.studies.design import sorted_words
from components.studies.matching import cost_with
from components.studies.planning import Plan
from components.studies.sizes.question import RECIPE, Question, counted, parameters_of, ratios_of, size_of
from components.studies.study import Variant
from components.studies.subjects import Built, build
from components.studies.tuning import SEED, Tune, parse_tune, settings
from components.training.estimate.step import rows_of

D_MODEL, N_LAYERS = "model.d_model", "model.n_layers"
OFF, FREELY_OFF = 0.05, 0.25  # share of the wanted parameters by which a rung may miss a size that was named, or only counted
HEADS_OFF = 8  # the width of a head moves by an eighth at most
BESIDE = 4  # rungs on either side of the first that is large enough that are looked at
FINE = 8  # channels between widths of a model without heads
FEWEST = 10  # steps of a run


@dataclass(frozen=True)
class Base:
    """What all sizes grow from: the recipe with the study's fixed words, its rates by ``mup`` or not."""

    recipe: Built
    words: tuple[str, ...]

    @property
    def tokens_per_step(self) -> int:
        return rows_of(self.recipe.config) * self.recipe.subject.context

    @property
    def ratio(self) -> float:
        """Tokens for each parameter."""
        return self.recipe.steps * self.tokens_per_step / self.recipe.subject.parameters


def base_of(asked: Question, cwd: Path) -> Base:
    """UserError where the recipe has no width to grow, compares parts, or has a head that muP does not cover."""
    words = sorted_words(asked.words, cwd)
    if words.axes:
        raise UserError(
            words.axes[0][0].partition("=")[0], "has several values, and sizes are what is compared", "components ablate"
        )
    recipe = build(words.fixed, cwd)
    model = recipe.config["model"]
    if not isinstance(model.get("d_model"), int):
        raise UserError("model", "has no d_model, so there is no width to grow", "choose a model that has")
    if not asked.mup:
        return Base(recipe, words.fixed)
    if model.get("head", {}).get("name") in ("tied", "tied_factorised"):
        raise UserError(
            "rate=mup", "is not for a tied head, whose logits grow with the width", "model/head=linear, or tune=optimizer.lr:3"
        )
    if model["init"]["name"] == "mup":
        return Base(recipe, words.fixed)
    own = (*words.fixed, "model/init=mup", f"model.init.base_width={model['d_model']}")
    return Base(build(own, cwd), own)


def ladder(asked: Question, base: Base, cwd: Path) -> Plan:
    """The sizes that the law is fitted to, each with its tokens.

    Raises:
        UserError: a size cannot be reached, or gets too few steps.
    """
    wanted = parameters_of(asked.sizes, base.recipe.subject.parameters)
    return _plan(asked, base, wanted, ratios_of(asked.tokens), cwd, FREELY_OFF if counted(asked.sizes) else OFF)


def next_rung(asked: Question, base: Base, largest: int, cwd: Path) -> Plan:
    """The size that is predicted: the one asked for, or twice the ``largest``; it gets the most tokens of a parameter that the ladder has.

    Raises:
        UserError: it is not beyond the ladder, cannot be reached, or gets too few steps.
    """
    wanted = 2 * largest if asked.next is None else size_of(asked.next, "next")
    if wanted <= largest:
        raise UserError(
            "next", f"{short(wanted)} is not beyond the ladder, which ends at {short(largest)}", f"next={2 * largest}"
        )
    ratios = ratios_of(asked.tokens)
    return _plan(asked, base, [wanted], None if ratios is None else ratios[-1:], cwd, FREELY_OFF if asked.next is None else OFF)


def _plan(asked: Question, base: Base, wanted: list[int], ratios: list[float] | None, cwd: Path, off: float) -> Plan:
    built: dict[str, Built] = {}
    variants: list[Variant] = []
    for size in wanted:
        values, parameters = rung(base.recipe, size, deeper=asked.deeper, off=off)
        for ratio in ratios or [None]:
            name = short(size if off == OFF else parameters).replace(" ", "") + (
                f" x{ratio:g}" if ratios and len(ratios) > 1 else ""
            )
            steps = _steps(asked, base, parameters, ratio)
            own = (*(f"{p}={v}" for p, v in values.items()), f"trainer.max_steps={steps}", "trainer.max_tokens=null")
            made = built[name] = build((*base.words, *own), cwd)
            had = flat(base.recipe.config)
            solved = {p: (had[p], v) for p, v in values.items() if had[p] != v}
            told = tuple(difference(base.recipe.config, made.config))
            variants.append(Variant(name, False, own, solved, parameters, made.subject.flops_per_token, steps, told))
    first = int(base.recipe.config["seed"])
    tune = _tune(asked, built)
    return Plan(base.recipe, built, tuple(variants), (), None, tune, tuple(range(first, first + asked.seeds)))


def _steps(asked: Question, base: Base, parameters: int, ratio: float | None) -> int:
    if asked.tokens == RECIPE:
        return base.recipe.steps
    steps = round((ratio or base.ratio) * parameters / base.tokens_per_step)
    if steps < FEWEST:
        said = f"{ratio or base.ratio:.3g} tokens for each of {short(parameters)} parameters are {steps} steps of {base.tokens_per_step:,}"
        raise UserError("tokens", said, "give more, or tokens=recipe: as many for every size as the recipe has")
    return steps


def _tune(asked: Question, built: Mapping[str, Built]) -> Tune | None:
    """What every size tunes."""
    if asked.tune is None:
        return None
    options, factors = parse_tune(asked.tune)
    some = next(iter(built.values()))
    tune = Tune(options, factors, int(some.config["seed"]) + SEED, asked.tune_steps)
    for made in built.values():
        settings(tune, made.config)
    return tune


def rung(recipe: Built, wanted: int, *, deeper: bool, off: float = OFF) -> tuple[dict[str, int], int]:
    """({option: value} of the model that comes nearest to ``wanted`` parameters, its parameters).

    Widths of feed-forwards and numbers of heads grow with d_model; the width of a head moves by an eighth at most. ``deeper``: the number of
    layers grows with the width too.

    Raises:
        UserError: none comes within ``off``, a share of them.
    """
    own = recipe.subject.parameters
    if wanted == own:
        return {}, own
    rungs = _candidates(recipe, deeper=deeper, most=4 * max(1, wanted // own) + 4)
    values, reached = _nearest(list(rungs.values()), lambda v: cost_with(recipe, v, "parameters"), wanted)
    if abs(reached / wanted - 1) > off:
        said = ", ".join(f"{p}={v}" for p, v in values.items())
        raise UserError(
            "sizes",
            f"{short(wanted)} cannot be reached: {said} has {short(round(reached))}",
            "more heads are narrower ones: model.attention.n_heads=N",
        )
    return values, round(reached)


def _nearest(
    rungs: Sequence[dict[str, int]], cost: Callable[[dict[str, int]], float | None], wanted: int
) -> tuple[dict[str, int], float]:
    """(the rung whose cost comes nearest, its cost) of rungs that grow; a cost is None where a part refuses the values."""
    known = cache(lambda i: cost(rungs[i]))

    def least(i: int) -> float:
        found = (known(j) for j in range(i, min(i + BESIDE, len(rungs))))
        return next((c for c in found if c is not None), math.inf)

    place = bisect_left(range(len(rungs)), wanted, key=least)
    around = range(max(0, place - BESIDE), min(len(rungs), place + BESIDE))
    legal = [(i, c) for i in around if (c := known(i)) is not None]
    if not legal:
        raise UserError("sizes", f"no width near {short(wanted)} is allowed", "other sizes")
    i, reached = min(legal, key=lambda found: abs(found[1] - wanted))
    return rungs[i], reached


def _candidates(recipe: Built, *, deeper: bool, most: int) -> dict[int, dict[str, int]]:
    """{d_model: all that goes with it}, up to ``most`` times the recipe's width."""
    had = {
        p: v
        for p, v in flat(recipe.config).items()
        if p.startswith("model.") and isinstance(v, int) and not isinstance(v, bool)
    }
    width = had[D_MODEL]
    heads = {p: n for p, n in had.items() if p.endswith(".n_heads")}
    if not heads:
        widths = range(FINE, most * width + 1, FINE)
        return {d: _grown(had, d / width, d, 1.0, {}, deeper=deeper) for d in widths}
    least = min(heads.values())
    groups = [n // kv for p, n in heads.items() if (kv := had.get(f"{p.removesuffix('n_heads')}n_kv_heads", 1)) > 1]
    together = math.lcm(*groups)  # heads that share keys stay as many
    found: dict[int, tuple[float, dict[str, int]]] = {}
    of_head = width // least
    for each in range(of_head - of_head // HEADS_OFF, of_head + of_head // HEADS_OFF + 1):
        if each % 2:
            continue  # rotary positions turn pairs of channels
        for n in range(together, most * least + 1, together):
            off, d = abs(each / of_head - 1), n * each
            if d in found and found[d][0] <= off:
                continue
            scaled = {p: max(1, round(h * n / least)) for p, h in heads.items()}
            found[d] = off, _grown(had, d / width, d, each / of_head, scaled, deeper=deeper)
    return {d: values for d, (_, values) in sorted(found.items())}


def _grown(
    had: Mapping[str, int], factor: float, d: int, of_head: float, heads: Mapping[str, int], *, deeper: bool
) -> dict[str, int]:
    made = {D_MODEL: d, **heads}
    for path, n in had.items():
        place, _, option = path.rpartition(".")
        if option == "d_ff":
            made[path] = max(1, round(n * factor))
        elif option == "head_dim":
            made[path] = max(2, 2 * round(n * of_head / 2))
        elif option == "n_kv_heads":
            made[path] = max(1, n * heads[f"{place}.n_heads"] // had[f"{place}.n_heads"])
        elif deeper and option == "n_layers":
            made[path] = max(1, round(n * factor))
    return made
