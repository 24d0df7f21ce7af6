"""docs/ladder.md is what its figures give, its commands compose, its pictures are there, and a claim holds only where the figures say so."""

from __future__ import annotations

import copy
import math
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import ladder  # noqa: E402
import ladder_claims  # noqa: E402
import ladder_pictures  # noqa: E402
import ladder_rungs  # noqa: E402

from components.cli.verbs import verbs  # noqa: E402
from components.compose import compose  # noqa: E402

STORED = ladder.load()
TEXT = ladder.PAGE.read_text(encoding="utf8")
COMMANDS = re.findall(r"^components .*|(?<=`)components [^`]*", TEXT, re.MULTILINE)


def test_the_page_is_what_the_figures_give():
    assert ladder.page(STORED) == TEXT, "python bench/ladder.py --render"


def test_every_rung_is_there():
    numbers = [r[:2] for r in ladder.rungs()]
    assert list(ladder_rungs.MEASURES) == list(ladder_claims.CLAIMS) == list(ladder_pictures.PICTURES_OF) == [*numbers, "fit"]
    assert set(STORED["rungs"]) == {*numbers, "fit"}
    for number in numbers:
        assert f"\n## {int(number)}. " in TEXT


def test_they_are_figures_of_the_recipes_as_they_are():
    stale = [n for n, found in STORED["rungs"].items() if found["recipe"] != ladder.fingerprint(ladder.rung_of(n))]
    assert not stale, f"these recipes have changed since: python bench/ladder.py --only {' '.join(stale)} --write"


def test_pictures_are_there_and_small():
    named = set(re.findall(r"\(ladder/(\w+)\.png\)", TEXT))
    assert named == {p for n in STORED["rungs"] for p in ladder_claims.CLAIMS[n].pictures}
    for name in named:
        file = ladder.PICTURES / f"{name}.png"
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size < 60_000, name
    assert {f.stem for f in ladder.PICTURES.iterdir()} == named


def test_commands_compose(tmp_path):
    trained = [shlex.split(c) for c in COMMANDS if c.startswith("components train")]
    assert len(trained) > 15
    for _, _, recipe, *words in trained:
        assert recipe.startswith("recipe=")
        words = [w for w in words if not w.startswith("init_from=")]
        assert compose(recipe.removeprefix("recipe="), words, cwd=tmp_path).recipe


def test_commands_of_runs_are_known_and_compose(tmp_path):
    others = [shlex.split(c) for c in COMMANDS if " RUN" in c and not c.startswith("components train")]
    assert {"evaluate", "explain", "generate"} <= {words[1] for words in others} <= set(verbs())
    for _, command, run, *words in others:
        assert run == "RUN"
        if command == "evaluate":
            base = compose("ladder/11_translation", cwd=tmp_path).config
            assert compose(None, words, base=base, cwd=tmp_path, command=command).difference


def test_lower_means_three_seeds_and_two_standard_errors():
    low, high = [1.0, 1.1, 1.2], [2.0, 2.1, 2.2]
    assert ladder_claims.below("", low, high).holds
    assert not ladder_claims.below("", high, low).holds
    assert not ladder_claims.below("", low[:2], high[:2]).holds
    assert not ladder_claims.below("", [1.0, 2.0, 3.0], [1.5, 2.5, 3.5]).holds
    d, error = ladder_claims.difference(low, high)
    assert d == pytest.approx(1.0)
    assert error == pytest.approx(math.sqrt(2 * 0.01 / 3))


def failing(number, found):
    return [c.what for c in ladder_claims.CLAIMS[number].claims(found) if not c.holds]


def test_claims_fail_with_other_figures():
    """Each of these figures is made wrong by hand; the claim that reads it says no."""
    spoilt = {
        "01": lambda f: f["runs"][0]["right"].update(validation=0.5),
        "02": lambda f: f["runs"]["threshold"][0].update(gradient=0.1),
        "03": lambda f: f["runs"][0].update(says="humpty dumptt sat on the"),
        "04": lambda f: f["runs"].update({"04_embedding": f["runs"]["03_next_character"]}),
        "05": lambda f: f.update(round_trip=False),
        "06": lambda f: f["looked"].update(future=0.1),
        "07": lambda f: f["runs"]["07_multi_head"][0].update(parameters=1),
        "08": lambda f: f["runs"]["plain"][0].update(val_loss=1.0),
        "09": lambda f: f["runs"][0]["curve"]["validation"].append([9999, 99.0]),
        "10": lambda f: f["runs"]["with attention"][0].update(by_length=[0.0] * 14),
        "11": lambda f: f["runs"]["zh"][0]["scores"]["greedy"].update(exact_match=0.9),
        "12": lambda f: f["runs"]["rope"][0]["curve"]["validation"].append([9999, 99.0]),
        "13": lambda f: f["runs"].update({"from scratch": f["runs"]["pretrained"]}),
        "14": lambda f: f["runs"].update({"from scratch": f["runs"]["pretrained"]}),
        "15": lambda f: f["runs"][0].update(val_accuracy=0.5),
        "fit": lambda f: f["runs"]["stopped early"].update(step=9999),
    }
    for number, spoil in spoilt.items():
        found = copy.deepcopy(STORED["rungs"][number])
        before = failing(number, found)
        spoil(found)
        assert set(failing(number, found)) > set(before), number
        slow = copy.deepcopy(STORED["rungs"][number])
        ladder_rungs.every_run(slow)[0]["seconds"] = 121.0
        assert any("120 s" in what for what in failing(number, slow)), number


def test_the_table_is_drawn_along_its_largest_spread():
    class Letters:
        vocab_size, specials = 4, {"pad": 3}

        def decode(self, ids):
            return "abc"[ids[0]]

    part = torch.nn.Embedding.from_pretrained(torch.tensor([[0.0, 0, 5], [3.0, 0, 5], [6.0, 0, 5], [0, 99.0, 0]]))
    found = ladder_rungs.flat(part, Letters())
    assert found["share"] == pytest.approx(1.0)
    assert [row[0] for row in found["rows"]] == ["a", "b", "c"]
    assert sorted(abs(row[1]) for row in found["rows"]) == pytest.approx([0, 3, 3], abs=1e-6)
