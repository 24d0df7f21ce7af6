"""What adds up over steps does so in fp32, whatever the weights are in: buffers of parts, averages of our own optimizers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components import build
from components.core import registry
from components.core.weights import Accumulating, Weight
from components.training.experiment import Job, fit
from components.training.tuning import narrow_lines

MOE = {"ffn": {"name": "moe", "n_experts": 4, "router": {"name": "sigmoid_top_k", "rate": 0.001}}}


@pytest.fixture
def router():
    made = build("router", "sigmoid_top_k", d_model=8, n_experts=2)
    made.part_path = "r"
    return made


def test_the_correction_goes_on_growing(router):
    router.to(torch.bfloat16)
    assert (router.logits.weight.dtype, router.correction.dtype) == (torch.bfloat16, torch.float32)
    for _ in range(2000):
        router.after_step({"r.load": torch.tensor([3.0, 1.0])})
    torch.testing.assert_close(router.correction, torch.tensor([-2.0, 2.0]), rtol=1e-4, atol=0)


def test_a_cast_leaves_its_value_to_the_digit_and_a_wider_type_is_taken(router):
    router.correction.copy_(torch.tensor([1 / 3, 0.123456]))
    before = router.correction.clone()
    assert torch.equal(router.bfloat16().half().float().correction, before)
    assert router.double().correction.dtype == router.bfloat16().correction.dtype == torch.float64
    with torch.device("meta"):
        made = build("router", "sigmoid_top_k", d_model=8, n_experts=2).bfloat16()
    assert made.correction.is_meta
    assert made.to_empty(device="cpu").correction.dtype == torch.float32


def test_built_where_bf16_is_the_default():
    torch.set_default_dtype(torch.bfloat16)
    try:
        made = build("router", "sigmoid_top_k", d_model=8, n_experts=2)
    finally:
        torch.set_default_dtype(torch.float32)
    assert (made.logits.weight.dtype, made.correction.dtype) == (torch.bfloat16, torch.float32)


def test_a_run_in_bf16_keeps_saves_and_resumes_it(tiny, monkeypatch):
    """A checkpoint is loaded before Lightning casts the model: the sum must not be rounded there."""
    seen = []
    config = tiny(model=MOE, trainer={"precision": "bf16-true", "max_steps": 7}, task={"validation_every": 3})
    monkeypatch.setattr(Accumulating, "_apply", watched(seen, Accumulating._apply))
    done = fit(Job(config, "moe", quiet=True))
    kept = torch.load(done.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    found = {n: v for n, v in kept.items() if n.endswith("correction")}
    assert found
    assert seen, "the model was cast"
    for value in found.values():
        assert value.dtype == torch.float32
        # whole steps of 0.001, which bf16 has not
        torch.testing.assert_close(value, (value / 0.001).round() * 0.001, rtol=0, atol=1e-7)
    assert any(value.any() for value in found.values()), "an odd number of steps up and down"


def watched(seen, inner):
    def apply(self, fn, recurse=True):
        before = self.correction.clone()
        inner(self, fn, recurse)
        if not before.is_meta:
            seen.append(self.correction.dtype)
        return self

    return apply


def test_every_buffer_that_parts_add_up_in_is_one_of_these():
    """The shelf has no other part that moves a buffer between steps."""
    classes = {registry.find(kind, e.name) for (kind, _), e in registry.entries().items() if kind != "model"}
    movers = {c for c in classes if isinstance(c, type) and issubclass(c, nn.Module) and hasattr(c, "after_step")}
    assert movers
    assert all(issubclass(c, Accumulating) for c in movers)


@pytest.mark.parametrize(("name", "state"), [("lion", "exp_avg"), ("muon", "momentum_buffer")])
def test_averages_of_our_own_optimizers(name, state):
    """The average of a gradient that is small beside what went before, and an old state in bf16 that is loaded."""
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        layer = nn.Linear(4, 4, bias=False, dtype=dtype)
        optimizer = build("optimizer", name, weights=[Weight("w", layer.weight, "hidden", ("d_model", "d_ff"), layer)])
        for step in range(60):
            layer.weight.grad = torch.full_like(layer.weight, 1.0 if step < 20 else 2.0**-6)
            optimizer.step()
        held = optimizer.state[layer.weight][state]
        found.append(held.clone())
        assert held.dtype == torch.float32
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=0)
    saved = optimizer.state_dict()
    saved["state"][0][state] = saved["state"][0][state].bfloat16()
    optimizer.load_state_dict(saved)
    optimizer.step()
    assert optimizer.state[layer.weight][state].dtype == torch.float32


def test_a_run_says_whose_averages_are_as_narrow_as_the_weights():
    said = "optimizer/adamw keeps its averages in bf16, as the weights are; trainer.precision=bf16-mixed keeps both in fp32"
    assert narrow_lines({"optimizer": {"name": "adamw"}}, "bf16-true") == [said]
    assert narrow_lines({"optimizer": {"name": "ema", "inner": {"name": "adamw"}}}, "bf16-true") == [said]
    for name, precision in (("adamw", "bf16-mixed"), ("adamw", None), ("lion", "bf16-true"), ("schedule_free", "bf16-true")):
        assert narrow_lines({"optimizer": {"name": name}}, precision) == []
