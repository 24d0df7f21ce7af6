"""A command's own groups (``conf/<command>.yaml``), of several parts in order: they stand beside a run's, and no other command knows them."""

from __future__ import annotations

import pytest

from components.compose import composed
from components.core.errors import UserError


@pytest.fixture
def measure(world):
    """``measure("filter=top")`` composes for a command that has a list of filters; ``base``: a saved config."""
    (world.parent / "shipped" / "conf" / "measure.yaml").write_text("# What measure has.\ndefaults:\n  - filter: []\n")

    def compose(*overrides: str, base=None):
        return composed.compose(None, list(overrides), base=base, cwd=world, command="measure").config["filter"]

    return compose


def test_the_list_is_empty_until_somebody_fills_it(measure, run):
    assert measure() == []
    assert "filter" not in run().config
    assert measure(base=run().config) == []
    with pytest.raises(UserError, match="unknown group 'filter'"):
        run("filter=top")


def test_a_name_a_list_and_options_by_name_or_place(measure, run):
    top, nucleus = measure("filter=[top,nucleus]")
    assert (top["name"], nucleus["name"]) == ("top", "nucleus")
    assert measure("filter=top") == measure("filter=[{name: top}]") == [top]
    option = next(name for name in top if name != "name")
    changed = {**top, option: 7}
    for typed in (f"filter.top.{option}=7", f"filter.0.{option}=7"):
        assert measure("filter=[top,nucleus]", typed) == [changed, nucleus]
        assert measure(typed, "filter=[top,nucleus]", base=run("net=stack").config) == [changed, nucleus]
    assert measure(f"filter=[{{name: top, {option}: 7}}]") == [changed]


def test_what_is_wrong_is_said(measure):
    with pytest.raises(UserError, match="did you mean 'top'"):
        measure("filter=[tpo]")
    with pytest.raises(UserError, match=r"filter.nucleus: the list has no part 'nucleus'; in the list: top"):
        measure("filter=top", "filter.nucleus.p=0.5")
    with pytest.raises(UserError, match="has no option 'depth'"):
        measure("filter=top", "filter.top.depth=3")
