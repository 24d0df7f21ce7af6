"""What a part leaves out of its kind's contract it has when it is made; what it says itself stays."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from components import build
from components.core.contracts import CONTRACTS, DEFAULTS, complete
from components.core.registry import KINDS
from components.core.sockets import make
from components.core.traits import check_of


class Bare(nn.Module):
    """Inherits from nothing of this package, and says nothing of itself."""

    def forward(self, x, *_):
        return x


def test_every_kind_has_a_contract():
    lightning = {"callback", "logger", "strategy", "trainer"}  # whose contracts are Lightning's own classes
    assert set(CONTRACTS) == set(KINDS) - {"cache"} - lightning, "a cache is sequence.Cache"


@pytest.mark.parametrize("kind", sorted(CONTRACTS))
def test_a_part_that_says_nothing_has_every_default(kind):
    part = make(Bare, kind)
    for name, default in DEFAULTS[kind].items():
        assert getattr(part, name) == default
    assert not part.state_dict()
    assert DEFAULTS[kind].keys() >= {"provides", "lacks", "identity"}


def test_what_a_part_says_itself_stays():
    class Said(Bare):
        identity = True

        def __init__(self) -> None:
            super().__init__()
            self.provides = ("own",)

    part = make(Said, "norm")
    assert (part.identity, part.provides, part.lacks) == (True, ("own",), ())
    assert not hasattr(Bare, "lacks"), "the class of a plug-in is not changed"


def test_a_default_is_filled_in_once_and_only_for_the_kind():
    part = complete(Bare(), "norm")
    assert "prepare" not in vars(part)
    part.lacks = ("causal",)
    assert complete(part, "norm").lacks == ("causal",)


def test_a_maker_that_gives_none_gives_none():
    assert make(lambda: None, "cache") is None


def test_a_function_is_a_part_too():
    init = make(lambda: lambda weight, _: torch.zeros(weight.parameter.shape), "init")
    assert init.provides == ()
    assert check_of(init) is None


def test_parts_of_ours_are_complete():
    norm = build("norm", "rms", dim=4)
    assert not norm.identity
    assert build("norm", "none").identity


def test_makers_need_no_torch():
    code = "import components.core.makers, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
