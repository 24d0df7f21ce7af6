"""The catalogue in docs/ says what the code says. ``python tests/test_catalogue.py`` writes it anew."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from components.catalogue import index_page, kind_page
from components.catalogue.formulas import counted, formulas_of, solve
from components.cli import main
from components.core import registry

FOLDER = Path(__file__).parent.parent / "docs" / "catalogue"
STALE = "docs/catalogue is stale: python tests/test_catalogue.py writes it anew"


def test_index_is_as_the_code():
    assert (FOLDER / "README.md").read_text(encoding="utf8") == index_page(), STALE
    assert {f.stem for f in FOLDER.glob("*.md")} == {*registry.kinds(), "README"}


@pytest.mark.parametrize("kind", list(registry.kinds()))
def test_page_is_as_the_code(kind):
    assert (FOLDER / f"{kind}.md").read_text(encoding="utf8") == kind_page(kind), STALE


def test_formulas_are_what_counting_by_hand_gives():
    found = formulas_of(registry.entry("attention", "gqa"))
    assert found.parameters == "4 d²"
    assert found.flops == "8 d² + 2 d T + 2 d"  # four projections; scores and their sum over (T + 1) / 2 positions on average
    assert formulas_of(registry.entry("embedding", "token")).parameters == "d V"
    assert formulas_of(registry.entry("ffn", "mlp")).parameters == "8 d²"


def test_a_width_that_is_rounded_gets_no_formula_but_a_number():
    found = formulas_of(registry.entry("ffn", "glu"))
    assert f"{counted('ffn/glu', (256, 256, 80))[0]:,} parameters at d = 256" in found.parameters


def test_solve_is_exact_and_refuses_what_does_not_fit():
    rows = [[Fraction(1), Fraction(x), Fraction(x * x)] for x in (1, 2, 3, 5)]
    assert solve(rows, [Fraction(3 + x * x, 2) for x in (1, 2, 3, 5)]) == [Fraction(3, 2), 0, Fraction(1, 2)]
    assert solve(rows, [Fraction(2**x) for x in (1, 2, 3, 5)]) is None


def test_the_command_prints_a_page_and_refuses_what_is_no_kind(capsys):
    assert main(["catalogue", "gate"]) == 0
    assert "# gate" in capsys.readouterr().out
    assert main(["catalogue", "gates"]) == 2
    assert "unknown kind" in capsys.readouterr().err


if __name__ == "__main__":
    main(["catalogue", "--to", str(FOLDER)])
