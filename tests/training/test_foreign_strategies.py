"""A strategy that somebody else has registered with Lightning is passed on by its name."""

from __future__ import annotations

import pytest
from lightning.pytorch.strategies import SingleDeviceStrategy, StrategyRegistry

from components.core.errors import UserError
from components.training.experiment import Job, fit


class Toy(SingleDeviceStrategy):
    used = 0

    def setup(self, trainer):
        type(self).used += 1
        super().setup(trainer)


@pytest.fixture
def toy():
    StrategyRegistry.register("toy_of_a_plug_in", Toy, description="of this test", device="cpu")
    yield
    StrategyRegistry.remove("toy_of_a_plug_in")


def run(tiny, strategy):
    return fit(Job(tiny(trainer={"strategy": strategy, "max_steps": 2}), "tiny", quiet=True))


def test_it_trains_and_is_the_one_that_was_registered(toy, tiny):  # noqa: ARG001
    before = Toy.used
    assert run(tiny, "toy_of_a_plug_in").figures["state"] == "finished"
    assert run(tiny, {"name": "toy_of_a_plug_in"}).figures["state"] == "finished"
    assert Toy.used == before + 2


def test_a_name_that_nobody_has_registered_is_one_line_with_the_nearest(toy, tiny):  # noqa: ARG001
    with pytest.raises(
        UserError, match=r"trainer\.strategy: unknown strategy 'toy_of_a_plug_on'; did you mean 'toy_of_a_plug_in'"
    ):
        run(tiny, "toy_of_a_plug_on")
    with pytest.raises(UserError, match=r"trainer\.strategy: unknown strategy 'fsdp3'; did you mean 'fsdp2'"):
        run(tiny, "fsdp3")
    with pytest.raises(
        UserError, match=r"trainer\.strategy\.x: 'toy_of_a_plug_in' is registered with Lightning, and its options"
    ):
        run(tiny, {"name": "toy_of_a_plug_in", "x": 1})
    with pytest.raises(UserError, match="FSDP1"):
        run(tiny, "fsdp")
