"""The grammar of layer slices, and who wins where two meet."""

from __future__ import annotations

import pytest

from components.core.errors import UserError
from components.core.slices import canonical, indices, resolve


@pytest.mark.parametrize(
    ("which", "found"),
    [
        ("all", list(range(12))),
        ("first", [0]),
        ("first2", [0, 1]),
        ("last", [11]),
        ("last2", [10, 11]),
        ("every4", [0, 4, 8]),
        ("every4at3", [3, 7, 11]),
        ("from8", [8, 9, 10, 11]),
        ("to2", [0, 1, 2]),
        ("8", [8]),
        ("8_10", [8, 9, 10]),
        ("wide", [2, 5, 8, 11]),
    ],
)
def test_a_slice_means_these_layers(which: str, found: list[int]) -> None:
    assert indices(which, 12, ["local", "local", "wide"]) == found


@pytest.mark.parametrize("which", ["12", "from12", "every4at4", "every0", "9_8", "last0"])
def test_an_empty_slice_is_refused(which: str) -> None:
    with pytest.raises(UserError, match="means none of the 12 layers"):
        indices(which, 12, [])


def test_an_unknown_slice_names_the_grammar_and_the_pattern() -> None:
    with pytest.raises(UserError, match=r"'widde' is no slice.*every4at3.*did you mean 'wide'\?"):
        indices("widde", 12, ["local", "wide"])
    with pytest.raises(UserError, match="also a slice"):
        indices("last", 12, ["last", "wide"])


def test_written_order_decides() -> None:
    layers = {"all": {"norm": "rms"}, "last": {"norm": "layer", "ffn": "glu"}, "every2": {"norm": "none"}}
    assert resolve(4, None, layers, ["norm", "ffn"]) == [
        {"norm": "none"},
        {"norm": "rms"},
        {"norm": "none"},
        {"norm": "layer", "ffn": "glu"},
    ]
    with pytest.raises(UserError, match="a layer has no socket 'head'"):
        resolve(4, None, {"all": {"head": "tied"}}, ["norm"])


@pytest.mark.parametrize("wanted", [[0], [3], [0, 1, 2, 3, 4, 5], [0, 2, 4], [1, 3, 5], [2, 3], [0, 2, 3, 5], [0, 3], [1, 5]])
def test_the_canonical_form_means_the_same_layers(wanted: list[int]) -> None:
    spelled = canonical(wanted, 6)
    assert sorted(i for which in spelled for i in indices(which, 6)) == wanted
