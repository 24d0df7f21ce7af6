"""A product by int8 of every width: torch's kernel reads whole pieces of 16 inputs, and beyond the row where a width is no multiple of 16."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from components import build
from components.check.host import scramble
from components.core.sockets import Batch
from components.functional.decode_products import Laid, decoding_form, quantised


def farthest(width: int, outputs: int, rows: int, bias: bool = False) -> float:
    """The largest difference from the exact product of the same steps and the same rounded inputs, in units of the largest result."""
    chance = torch.Generator().manual_seed(width)
    weight, x = (torch.randn(n, width, generator=chance) for n in (outputs, rows))
    added = torch.randn(outputs, generator=chance) if bias else None
    whole, steps = quantised(weight)
    exact = x.bfloat16().double() @ (whole.double() * steps.double()[:, None]).T
    found = Laid(weight, added, "int8", rows, 99)(x[None])[0]
    assert found.shape == exact.shape
    assert found.dtype == x.dtype
    exact = exact if added is None else exact + added
    return float((found - exact).abs().max() / exact.abs().max())


CHILD = "import sys, test_odd_sizes_of_int8 as t; print(max(t.farthest(int(k), n, m) for k in sys.argv[1:] for n in (1, 7, 64) for m in (1, 2, 5)))"


@pytest.mark.parametrize("first", range(1, 71, 14))
def test_every_width_is_within_the_steps_of_bf16(first):
    """In a process of its own: what reads beyond its memory may end it."""
    widths = map(str, range(first, first + 14))
    here = __file__.rpartition("/")[0]
    child = subprocess.run([sys.executable, "-c", CHILD, *widths], cwd=here, capture_output=True, text=True, timeout=120)
    assert child.returncode == 0, child.stderr
    assert float(child.stdout) < 2**-8  # nan is not


@pytest.mark.parametrize("width", [24, 32, 40])
def test_rows_that_are_not_side_by_side_and_a_bias(width):
    assert farthest(width, 7, 5, bias=True) < 2**-7
    weight, x = torch.randn(7, width), torch.randn(5, 2 * width)
    laid = Laid(weight, None, "int8", 5, 99)
    assert torch.equal(laid(x[:, :width]), laid(x[:, :width].contiguous()))
    assert torch.equal(laid(x[:, :width].bfloat16()), laid(x[:, :width].contiguous().bfloat16()))
    assert laid(x[:0, :width]).shape == (0, 7)


def test_a_model_of_an_odd_width_decodes_in_int8_near_what_it_is():
    model = build("model", "decoder", vocab_size=23, d_model=24, n_layers=2, context_length=32, ffn={"name": "glu", "d_ff": 37})
    model = scramble(model.eval(), 0.2)
    ids = torch.randint(0, 23, (1, 9), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = model(Batch(ids))
        with decoding_form(model, "int8", 99):
            found = model(Batch(ids))
    assert float((found - plain).norm() / plain.norm()) < 0.05
