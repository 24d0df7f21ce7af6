"""What registration makes of classes that build on others, of presets of presets, and of the lengths of tuples."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from components import build, preset, register
from components.core import registry
from components.core.errors import UserError
from components.core.option_types import parse_type
from components.core.signature import Signature
from components.parts.attention.gqa import GroupedQueryAttention


class Inherits(GroupedQueryAttention):
    """As grouped-query attention."""


class OfTorch(torch.optim.SGD):
    """As torch's."""


@pytest.fixture
def forget():
    names = []
    yield names.append
    for name in names:
        registry.unregister("attention", name)


def test_a_subclass_of_a_shipped_part_has_its_sizes_and_options(forget):
    base = Signature.of_class(GroupedQueryAttention)
    assert Signature.of_class(Inherits).sizes == base.sizes
    assert Signature.of_class(Inherits).options.keys() == base.options.keys()
    forget("inherits")
    register("attention", "inherits")(Inherits)
    model = build("model", "decoder", vocab_size=9, d_model=12, attention={"name": "inherits", "n_heads": 3})
    assert model.stack.layers[0].block.attention.q.weight.shape == (12, 12)
    assert model.stack.layers[0].block.attention.head_dim == 4


def test_what_a_framework_takes_is_no_choice():
    assert Signature.of_class(OfTorch).options == Signature.of_class(OfTorch).sizes == {}


def test_a_preset_of_a_preset_is_one_of_the_part(forget):
    forget("twice")
    preset("attention", "twice", of="mqa", dropout=0.25)
    e = registry.entry("attention", "twice")
    assert e.preset_of == "gqa"
    assert e.sets == (*registry.entry("attention", "mqa").sets, "dropout")
    assert e.origin == __name__.split(".")[0]
    part = build("attention", "twice", d_model=8, n_heads=2, position="none")
    assert part.k.out_features == 4
    assert part.dropout == 0.25


def test_presets_of_own_modules_have_their_package_as_origin():
    registry.find("attention", "mqa")
    __import__("components.parts.attention.mqa")
    assert registry.entry("attention", "mqa").origin == "components"


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("tuple[float, float]", [[0.9, 0.95], (0, 1)], [[0.9], [0.9, 0.95, 0.99], []]),
        ("tuple[float, float] | None", [None, [1.0, 2.0]], [[1.0]]),
        ("tuple[int, ...]", [[], [1], [1, 2, 3]], [[0.5]]),
        ("list[str]", [[], ["a"]], [[1]]),
    ],
)
def test_lengths_of_tuples(text, good, bad):
    kind = parse_type(text)
    stored = type(kind)(**json.loads(json.dumps(asdict(kind))) | {"bases": kind.bases, "allowed": kind.allowed})
    for t in (kind, stored):
        assert [t.fault(value) for value in good] == [None] * len(good)
        assert all(t.fault(value) for value in bad)
    assert ("of length 2" in kind.described()) is ("float, float" in text)


def test_a_pair_of_three_is_refused_by_name():
    signature = registry.entry("optimizer", "adamw").signature
    read = Signature.from_json(json.loads(json.dumps(asdict(signature))))
    for s in (signature, read):
        with pytest.raises(UserError, match=r"betas.*of length 2"):
            s.check("optimizer", {"betas": [0.9, 0.95, 0.99]}, "optimizer/adamw")
