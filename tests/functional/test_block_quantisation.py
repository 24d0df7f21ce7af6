"""Matrices in int8 and nf4: the papers' formulas written plainly, torchao's own tensor, and what a frozen matrix in few bits is to who reads it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from components.functional.block_quantisation import CODES, FORMATS
from components.functional.quantised_tensor import Quantised, bytes_of, dequantise, quantise, unpacked

every_format = pytest.mark.parametrize("bits", FORMATS)


def matrix(rows=96, columns=128, seed=0):
    return 0.1 * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def plain_int8(weight):
    made = torch.zeros_like(weight, dtype=torch.float64)
    for row, values in enumerate(weight.double()):
        step = values.abs().max() / 127
        made[row] = (values / step).round() * step
    return made


def plain_nf4(weight, block=64, group=256):
    """Numbers one by one, as sections 3 and 4 of the paper say; the second step in whole numbers from -128 to 127, as torchao has it."""
    blocks = weight.double().flatten().split(block)
    largest = torch.stack([b.abs().max() for b in blocks])
    centred = [g - largest.mean() for g in largest.split(group)]
    steps = torch.cat([(g * 128 / g.abs().max()).round().clamp(-128, 127) * g.abs().max() / 128 for g in centred])
    codes = torch.tensor(CODES, dtype=torch.float64)
    nearest = [codes[((b / m)[:, None] - codes).abs().argmin(1)] for b, m in zip(blocks, largest, strict=True)]
    return torch.cat([n * s for n, s in zip(nearest, steps + largest.mean(), strict=True)]).view(weight.shape)


@pytest.mark.parametrize("shape", [(96, 128), (5, 22), (300, 66)])
@pytest.mark.parametrize(("bits", "plain"), [("int8", plain_int8), ("nf4", plain_nf4)])
def test_the_numbers_are_those_of_the_formula(bits, plain, shape):
    weight = matrix(*shape)
    given = FORMATS[bits].unpack(FORMATS[bits].pack(weight))
    torch.testing.assert_close(given.double(), plain(weight), rtol=0, atol=2e-7)


def test_nf4_is_torchaos_but_for_the_digits_of_its_table():
    ours = pytest.importorskip("torchao.quantization.quantize_.workflows.nf4.nf4_tensor")
    weight = matrix(512, 256)  # torchao's takes whole groups alone
    theirs = ours.to_nf4(weight)
    pieces = FORMATS["nf4"].pack(weight)
    assert torch.equal(pieces["steps"], theirs.quantized_scalers)
    torch.testing.assert_close(1 / pieces["factors"], theirs.quantization_factor)
    assert (pieces["codes"].flatten() == theirs.quantized_data).float().mean() > 0.9995  # it has four digits of each code
    close = (FORMATS["nf4"].unpack(pieces) - theirs.get_original_weight()).abs() < 1e-4
    assert close.float().mean() > 0.999


@every_format
def test_rows_and_blocks_of_zeros_are_zeros_and_no_number_leaves_the_range(bits):
    weight = matrix()
    weight[3] = 0
    given = FORMATS[bits].unpack(FORMATS[bits].pack(weight))
    assert given[3].eq(0).all()
    assert given.isfinite().all()
    assert FORMATS[bits].unpack(FORMATS[bits].pack(torch.zeros(4, 64))).eq(0).all()
    if bits == "nf4":
        with pytest.raises(ValueError, match="7 x 65"):
            FORMATS[bits].pack(torch.zeros(7, 65))


@pytest.mark.parametrize(("bits", "share"), [("int8", 0.2505), ("nf4", 0.1292)])
def test_it_takes_a_quarter_or_an_eighth_of_fp32(bits, share):
    linear = nn.Linear(1024, 768)
    quantise(linear, bits)
    assert bytes_of(linear.weight) / (1024 * 768 * 4) == pytest.approx(share, abs=5e-3)
    stored = sum(t.untyped_storage().nbytes() for n, t in linear.state_dict().items() if n != "bias")
    assert stored == bytes_of(linear.weight)  # nothing is kept beside the pieces


@every_format
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_product_and_its_gradients_are_those_of_the_whole_matrix(bits, dtype):
    linear = nn.Linear(128, 96).to(dtype)
    quantise(linear, bits)
    assert isinstance(linear.weight, nn.Parameter)
    assert not linear.weight.requires_grad
    whole = linear.weight.whole()
    x = torch.randn(3, 5, 128, dtype=dtype, generator=torch.Generator().manual_seed(1)).requires_grad_()
    given, right = linear(x), F.linear(x, whole, linear.bias)
    assert torch.equal(given, right)
    for a, b in zip(*(torch.autograd.grad(y.sin().sum(), (x, linear.bias)) for y in (given, right)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@every_format
def test_nothing_of_the_whole_matrix_is_kept_for_the_backward_pass(bits):
    linear, kept = nn.Linear(128, 96, bias=False), []
    quantise(linear, bits)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        linear(torch.randn(2, 128, requires_grad=True)).sum().backward()
    assert 128 * 96 not in kept


@every_format
def test_it_is_the_matrix_to_who_reads_copies_moves_or_saves_it(bits):
    linear, weight = nn.Linear(128, 96), matrix()
    quantise(linear, bits)
    with torch.no_grad():
        linear.weight.copy_(weight)
    whole = linear.weight.whole()
    assert torch.equal(whole, FORMATS[bits].unpack(FORMATS[bits].pack(weight)))
    assert torch.equal(linear.weight + 1, whole + 1)
    assert torch.equal(linear.weight.t(), whole.t())
    with pytest.raises(TypeError, match="frozen"):
        linear.weight.zero_()
    twin = copy.deepcopy(linear)
    assert isinstance(twin.weight, Quantised)
    assert torch.equal(twin.weight.whole(), whole)
    assert twin.weight.codes.data_ptr() != linear.weight.codes.data_ptr()
    assert linear.double().weight.dtype == torch.float64
    assert linear.weight.codes.dtype != torch.float64
    state = twin.state_dict()
    assert all(type(t) is torch.Tensor for t in state.values()), "a checkpoint holds plain tensors"
    assert torch.equal(unpacked(state)["weight"], whole)
    assert set(unpacked(state)) == {"weight", "bias"}
    with torch.device("meta"):
        other = nn.Linear(128, 96)
    quantise(other, bits)
    other.to_empty(device="cpu").load_state_dict(state)
    assert torch.equal(other.weight.codes, twin.weight.codes)
    assert torch.equal(other.weight.whole(), whole)
    other.load_state_dict({"weight": weight, "bias": state["bias"]})  # a whole one is rounded
    assert torch.equal(other.weight.whole(), whole)
    dequantise(other)
    assert type(other.weight) is nn.Parameter
    assert list(other.state_dict()) == ["weight", "bias"]
