"""Budgets agree to 0.5 %, or the variant is refused with a reason: every attention and feed-forward of the catalogue, on the meta device."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from components.compose import compose
from components.core import registry
from components.core.errors import UserError
from components.core.flops import flops_per_token
from components.core.meta import on_meta
from components.studies.matching import STEPS, Match, cost, match_one, nearest, solve, widths_of
from components.studies.subjects import Built, build

CWD = Path.cwd()
# what gpt_python's rope does not go with, it takes without positions
WITHOUT = ("model/position=none",)


@cache
def built(*words: str) -> Built:
    return build(("recipe=gpt_python", *words), CWD)


def taken_by_the_recipe(kind: str) -> list[tuple[str, tuple[str, ...]]]:
    found = []
    for name in registry.names(kind):
        for more in ((), WITHOUT):
            try:
                compose("gpt_python", [f"model/{kind}={name}", *more])
            except UserError:
                continue
            found.append((name, more))
            break
    return found


EVERY = [(kind, *one) for kind in ("attention", "ffn") for one in taken_by_the_recipe(kind)]


def test_most_of_the_catalogue_is_here():
    assert sum(kind == "attention" for kind, *_ in EVERY) >= 23
    assert sum(kind == "ffn" for kind, *_ in EVERY) >= 8


@pytest.mark.parametrize("budget", ["parameters", "flops"])
@pytest.mark.parametrize(("kind", "name", "more"), EVERY)
def test_budgets_agree_or_a_reason_is_given(kind, name, more, budget):
    recipe, variant = built(*more), built(f"model/{kind}={name}", *more)
    match = Match.of(budget, None)
    try:
        found = solve(variant, recipe, match)
    except UserError as e:
        said = str(e)
        assert "has no feed-forward with a width d_ff" in said or "cannot be reached: model.ffn.d_ff=" in said
        assert "has no feed-forward" not in said or not widths_of(variant, match, quiet=True)
        return
    # counted anew from the overrides, as a run would build it
    config = compose("gpt_python", [f"model/{kind}={name}", *more, *found.overrides]).config
    model = on_meta(config, variant.subject.vocab_size)
    has = flops_per_token(model, 128) if budget == "flops" else sum(p.numel() for p in model.parameters())
    assert abs(has / cost(recipe.subject, budget) - 1) <= 0.005
    before = cost(variant.subject, budget) / cost(recipe.subject, budget) - 1
    assert bool(found.overrides) == (abs(before) > 0.005), "what agrees already is left alone"


def test_layers_that_differ_keep_their_ratio():
    words = ("model.layers.from2.ffn.d_ff=256", "model.ffn.d_ff=512")
    recipe, variant = built(*words), built(*words, "model/attention=mqa")
    found = solve(variant, recipe, Match.of("parameters", None))
    one, other = found.changed["model.ffn.d_ff"], found.changed["model.layers.2_3.ffn.d_ff"]
    assert (one[0], other[0]) == (512, 256)
    assert one[1] > 512
    assert abs(one[1] / other[1] - 2) < 0.01
    matched = built(*words, "model/attention=mqa", *found.overrides)
    assert matched.subject.parameters == pytest.approx(recipe.subject.parameters, rel=0.005)


def test_what_cannot_be_reached_says_what_comes_nearest():
    with pytest.raises(UserError, match=r"cannot be reached: model.n_layers=\d+ gives [\d,]+, [-+]\d"):
        solve(built("model/attention=mqa"), built(), Match.of("parameters", "model.n_layers"))
    with pytest.raises(UserError, match="is changed by the variant, and match=parameters would undo it"):
        solve(built("model.ffn.d_ff=512"), built("model.ffn.d_ff=256"), Match.of("parameters", None))
    with pytest.raises(UserError, match=r"model\.ffn\.n_experts: this variant has no such integer option"):
        solve(built("model/attention=mqa"), built(), Match.of("parameters", "model.ffn.n_experts"))


def test_steps_follow_where_they_are_free():
    recipe, variant = built(), built("model/attention=retention")
    found = solve(variant, recipe, Match.of("flops", STEPS))
    was, now = found.changed[STEPS]
    assert was == 1000
    assert now * variant.subject.flops_per_token == pytest.approx(1000 * recipe.subject.flops_per_token, rel=0.005)
    timed = solve(variant, recipe, Match.of("time", None), {"recipe": 0.1, "variant": 0.2})
    assert timed.overrides == ("trainer.max_steps=500",)
    with pytest.raises(UserError, match="measures steps first"):
        solve(variant, recipe, Match.of("time", None))


@pytest.mark.parametrize("target", [5, 100, 1003, 77_777])
@pytest.mark.parametrize("start", [1, 64, 5000])
def test_the_search_finds_the_nearest_legal_integer(target, start):
    def budget(n: int) -> float | None:
        return None if n % 3 else 7.0 * n + 5

    n, reached = nearest(budget, target, start)
    best = min(range(3, 20_000, 3), key=lambda m: abs(7.0 * m + 5 - target))
    assert abs(reached - target) == abs(7.0 * best + 5 - target)
    assert reached == 7.0 * n + 5


def test_a_single_run_takes_what_its_recipe_alone_takes():
    words = ["recipe=gpt_python", "model/attention=mqa", "trainer.max_steps=5"]
    assert match_one(words, "parameters", None) == [*words, "model.ffn.d_ff=896"]
    assert match_one(words, "none", None) == words
    with pytest.raises(UserError, match="leave match= out"):
        match_one(["resume=auto"], "flops", None)


@pytest.mark.parametrize(
    ("budget", "free", "says"),
    [
        ("money", None, "unknown budget 'money'; one of parameters, flops, time, none"),
        (None, "model.ffn.d_ff", "nothing is matched"),
        ("time", "model.ffn.d_ff", "is matched by the number of steps"),
        ("parameters", "trainer.max_steps", "changes no parameters"),
    ],
)
def test_budgets_that_cannot_be(budget, free, says):
    with pytest.raises(UserError, match=says):
        Match.of(budget, free)
