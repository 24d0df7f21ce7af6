"""``components.build`` refuses what a config refuses: two parts that cannot work together."""

from __future__ import annotations

import functools

import pytest

from components import build
from components.core.errors import UserError
from components.core.sockets import Place
from components.parts.block.parallel import Parallel
from components.parts.residual.none import NoResidual

SIZES = {"vocab_size": 20, "d_model": 16, "n_layers": 2, "context_length": 8}
HEADS = {"name": "gqa", "n_heads": 2}


def decoder(**options):
    return build("model", "decoder", **SIZES, **{"attention": HEADS, "position": "none", **options})


def test_parts_that_a_config_would_refuse_are_refused() -> None:
    with pytest.raises(UserError, match=r"^model.residual: residual/none needs sequential of its block, and block/parallel"):
        decoder(block="parallel", residual="none")
    with pytest.raises(UserError, match=r"^model.position: position/alibi needs biases of its attention, and attention/linear"):
        decoder(position={"name": "alibi"}, attention={"name": "linear", "n_heads": 2})
    decoder(block="pre_norm", residual="none")
    decoder(position="alibi")


def test_in_layers_of_their_own_too() -> None:
    with pytest.raises(UserError, match=r"block/parallel at model.layers.last.block does not provide it"):
        decoder(residual="none", layers={"last": {"block": {"name": "parallel"}}})
    with pytest.raises(UserError, match=r"block/parallel at model.layers.last.block does not provide it"):
        decoder(residual="none", layers={"last": {"block": "parallel"}})
    decoder(layers={"last": {"block": {"name": "parallel"}}})


def test_classes_and_partials_of_parts_are_known() -> None:
    for block in (
        Parallel,
        functools.partial(Parallel, norm="layer"),
        functools.partial(functools.partial(Parallel), norm="rms"),
    ):
        with pytest.raises(UserError, match=r"block/parallel at model.block does not provide it"):
            decoder(block=block, residual=NoResidual)
        assert [type(m) for m in decoder(block=block, residual="add").modules()].count(Parallel) == SIZES["n_layers"]


def test_of_any_other_function_nothing_is_known() -> None:
    def mine(d_model, context_length, place):
        options = {"attention": {**HEADS, "position": "none"}, "ffn": "mlp", "norm": "rms", "residual": "add"}
        return Parallel(d_model, context_length, place, cross=None, **options)

    decoder(block=mine, residual="none")
    refused = r"block/parallel at model\.layers\.last\.block"  # the rest is held against each other all the same
    with pytest.raises(UserError, match=refused):
        decoder(block=mine, residual="none", layers={"last": {"block": "parallel"}})


def test_a_part_alone() -> None:
    build("residual", "none")
    sizes = {"d_model": 16, "context_length": 8, "place": Place(0, 1)}
    options = {"attention": {**HEADS, "position": "none"}, "ffn": {"name": "mlp", "d_ff": 16}, "norm": "rms"}
    build("block", "parallel", **sizes, **options, cross=None, residual="add")
    with pytest.raises(
        UserError, match=r"^block.residual: residual/none needs sequential of its block, and block/parallel at block"
    ):
        build("block", "parallel", **sizes, **options, cross=None, residual="none")
