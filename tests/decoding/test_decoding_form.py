"""The layout that a model decodes in gives what its forward gives, for every part; it is there while a text is written and at no other time."""

from __future__ import annotations

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import components
from components import build
from components.check.host import scramble
from components.core import registry
from components.core.errors import UserError
from components.core.sockets import Batch
from components.functional import decode_products, laid_out
from components.functional.decode_products import Product, decoding_form
from components.functional.fp16_products import InFp16
from components.functional.laid_out import packed, quantised
from components.functional.linear import MAPS

V, D, T = 24, 32, 12
IDS = torch.randint(0, V, (2, T), generator=torch.Generator().manual_seed(0))
KINDS = ("attention", "ffn", "head", "norm", "position", "block", "residual", "embedding", "stack")
CASES = [(kind, name) for kind in KINDS for name in registry.names(kind)]


def decoder(dtype=torch.float32, **options):
    model = build("model", "decoder", vocab_size=V, d_model=D, n_layers=2, context_length=64, **options)
    return scramble(model.eval(), 0.2).to(dtype)


@torch.inference_mode()
def logits(model, ids=IDS):
    """Of every position, read as decoding reads: a prompt, then one token at a time."""
    cache = build("cache", "growing")
    return torch.cat([model(Batch(ids[:, a:b]), cache=cache) for a, b in ((0, 5), *((i, i + 1) for i in range(5, T)))], 1)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_every_part_gives_in_the_form_what_it_gives_without(kind, name):
    try:
        model = decoder(**{kind: name})
        plain = logits(model)
    except (UserError, ValueError, NotImplementedError) as e:
        pytest.skip(f"no part of a decoder that reads ids: {e}")
    with decoding_form(model, "same", 99):
        laid = [m for m in model.modules() if type(m) in MAPS]
        assert all(isinstance(vars(m)["forward"], Product) for m in laid)
        found = logits(model)
    assert torch.allclose(found, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))
    assert not any({"forward", "product"} & set(vars(m)) for m in model.modules())
    assert torch.equal(logits(model), plain)


def test_products_of_one_input_are_one():
    """Per token and layer: queries, keys and values; out; gate and up; out; and one for the head."""
    model, counted = decoder(ffn="glu"), []

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            counted.append(function.overloadpacket._qualified_op_name)
            return function(*args, **(kwargs or {}))

    cache = build("cache", "growing")
    with torch.inference_mode(), decoding_form(model, "same", 99):
        model(Batch(IDS[:1, :4]), cache=cache)
        model(Batch(IDS[:1, 4:5]), cache=cache)
        with Count():
            model(Batch(IDS[:1, 5:6]), cache=cache)
    assert counted.count("aten::bmm") == 4 * 2 + 1
    assert not {"aten::linear", "aten::addmm", "aten::mm", "aten::matmul"} & set(counted)
    assert len(counted) < 75 * 2  # a layer's operations: views, norms, the rotation, the cache, attention


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_blocks_for_threads_are_put_together_in_order(threads, rows, bias):
    """Three threads do not divide 32 outputs: one block then."""
    linear, x, before = nn.Linear(20, 32, bias=bias), torch.randn(2, rows, 20), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode(), decoding_form(linear, "same", 99):
            found = linear(x)
            assert vars(linear)["forward"].laid.weight.shape == ((threads, 20, 32 // threads) if threads < 3 else (1, 20, 32))
        assert torch.allclose(found, linear(x), atol=1e-6)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("packs", ["as it is here", "without"])
def test_bf16_rounds_weights_and_inputs_and_nothing_else(packs, monkeypatch):
    """``without``: on a CPU whose oneDNN has no bf16, which needs AVX-512 or AVX-NE-CONVERT. Neither has FBGEMM."""
    monkeypatch.setattr(laid_out, "fits_fp16", lambda _: False)
    if packs == "without":
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
        monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
    linear, x = nn.Linear(64, 96), torch.randn(5, 64)
    with torch.inference_mode(), decoding_form(linear, "bf16", 1):
        found = linear(x)
    exact = x.bfloat16().double() @ linear.weight.bfloat16().double().t() + linear.bias.double()
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), exact, rtol=2**-7, atol=1e-3)


@pytest.mark.skipif("fbgemm" not in torch.backends.quantized.supported_engines, reason="this torch has no FBGEMM")
@pytest.mark.parametrize("scale", [0.2, 1.0, 1e4])
def test_bf16_rounds_weights_alone_and_to_fp16_where_there_is_fbgemm(scale):
    linear, x = nn.Linear(64, 96), torch.randn(2, 3, 64)
    with torch.no_grad():
        linear.weight.mul_(scale)
    with torch.inference_mode(), decoding_form(linear, "bf16", laid_out.REPAID):
        assert torch.equal(linear(x), F.linear(x, linear.weight, linear.bias)), "the prompt's product is of the matrix as it is"
        assert isinstance(vars(linear)["forward"].laid, InFp16)
        found = linear(x)
    exact, coarser = (
        x.double() @ linear.weight.to(t).double().t() + linear.bias.double() for t in (torch.half, torch.bfloat16)
    )
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), exact, rtol=1e-5, atol=3e-6 * max(1.0, scale))
    true = x.double() @ linear.weight.double().t() + linear.bias.double()
    assert (exact - true).abs().mean() < (coarser - true).abs().mean()


@pytest.mark.skipif("fbgemm" not in torch.backends.quantized.supported_engines, reason="this torch has no FBGEMM")
def test_threads_that_lay_out_change_nothing(monkeypatch):
    laid_by = set()
    pack = torch.ops.quantized.linear_prepack_fp16

    def noted(*given):
        laid_by.add(threading.current_thread().name.partition("_")[0])
        return pack(*given)

    monkeypatch.setattr(torch.ops.quantized, "linear_prepack_fp16", noted)
    maps, x, found = nn.ModuleList(nn.Linear(64, 96) for _ in range(3)), torch.randn(1, 64), []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            with torch.inference_mode(), decoding_form(maps, "bf16", laid_out.REPAID):
                found.append([m(x) for _ in range(3) for m in maps])
        finally:
            torch.set_num_threads(before)
        assert laid_by == ({"MainThread"} if threads == 1 else {"MainThread", "packer"})
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert not [t for t in threading.enumerate() if t.name.startswith("packer")], "they end with the text"


@pytest.mark.parametrize("why", ["beyond the range of fp16", "below it", "many rows", "no FBGEMM", "a short text"])
def test_without_fp16_bf16_is_multiplied_in_bf16(why, monkeypatch):
    linear, x = nn.Linear(64, 96), torch.randn(5, 64)
    if why == "beyond the range of fp16":
        linear.weight.data[0, 0] = 1e5
    if why == "below it":
        linear.weight.data.mul_(1e-2)
    if why == "no FBGEMM":
        monkeypatch.setattr(torch.backends.quantized, "engine", "qnnpack")
    new, rows = laid_out.REPAID - (why == "a short text"), 16 if why == "many rows" else 1
    with torch.inference_mode(), decoding_form(linear, "bf16", new, rows):
        found = linear(x)
        assert not isinstance(vars(linear)["forward"].laid, InFp16)
    exact = x.bfloat16().double() @ linear.weight.bfloat16().double().t() + linear.bias.double()
    assert torch.allclose(found.double(), exact, rtol=2**-7, atol=1e-3)


def test_int8_is_what_its_steps_say():
    weight = torch.randn(7, 48) * torch.logspace(-3, 3, 7)[:, None]
    weight[2] = 0
    whole, steps = quantised(weight)
    assert whole.dtype == torch.int8
    back = whole.float() * steps.float()[:, None]
    error = (back - weight).abs().amax(1) / weight.abs().amax(1).clamp(min=1e-9)
    assert error.max() <= 0.5 / 127 + 2**-8  # half a step, and the step's own rounding, which cuts the largest
    assert not back[2].any()
    linear = nn.Linear(48, 7)
    linear.weight = nn.Parameter(weight)
    x = torch.randn(1, 3, 48)
    with torch.inference_mode(), decoding_form(linear, "int8", 1):
        found = linear(x)
    exact = x.bfloat16().double() @ back.double().t() + linear.bias.double()
    assert ((found - exact).abs().amax((0, 1)) <= 2**-7 * exact.abs().amax((0, 1))).all()  # the product is given in bf16


@pytest.mark.parametrize(("how", "most"), [("bf16", 1e-3), ("int8", 5e-3)])
def test_the_loss_hardly_changes(how, most, tmp_path, monkeypatch):
    """On a model that has learnt something: the bounds are shares of the loss."""
    monkeypatch.chdir(tmp_path)
    words = ["trainer.max_steps=60", "task.samples=0", "paths.runs=runs"]
    run = components.train("llama_tiny", words, quiet=True)
    model = components.load(run.folder).model.eval()
    ids = torch.randint(0, model.vocab_size, (8, 64), generator=torch.Generator().manual_seed(3))

    @torch.inference_mode()
    def loss():
        return float(F.cross_entropy(model(Batch(ids[:, :-1])).flatten(0, 1), ids[:, 1:].flatten()))

    plain = loss()
    with decoding_form(model, how, 1):
        assert loss() == pytest.approx(plain, rel=most)
        assert loss() != plain


def test_what_is_not_plain_is_left_as_it_is():
    """A hooked map is called itself, and so is one that somebody has replaced; the form of before stays whose it is."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    seen = []
    model[0].register_forward_hook(lambda *_: seen.append(0))
    vars(model[1])["forward"] = lambda x: x * 2
    with torch.inference_mode(), decoding_form(model, "same", 99):
        model(torch.randn(1, 4))
        with decoding_form(model, "int8", 99):  # another text at the same time
            assert vars(model[2])["forward"].how == "same"
        assert isinstance(vars(model[2])["forward"], Product)
    assert seen == [0]
    assert "forward" in vars(model[1])
    assert "forward" not in vars(model[2])


def test_it_is_gone_after_an_error():
    model = decoder()
    with pytest.raises(KeyError), decoding_form(model, "bf16", 9):
        raise KeyError
    assert not any("forward" in vars(m) for m in model.modules())


@pytest.mark.parametrize("change", ["few tokens", "fp64", "compiled", "autocast", "large"])
def test_the_same_numbers_are_laid_out_only_where_it_pays(change, monkeypatch):
    model, new = decoder(torch.float64 if change == "fp64" else torch.float32), 8 if change == "few tokens" else 99
    if change == "compiled":
        model.stack.layers[0]._compiled_call_impl = lambda *_: None
    if change == "large":
        monkeypatch.setattr(decode_products, "MOST", 100)
    with torch.autocast("cpu", torch.bfloat16, enabled=change == "autocast"), decoding_form(model, "same", new):
        assert not any("forward" in vars(m) for m in model.modules())


def test_an_accelerator_has_no_int8_here():
    with (
        pytest.raises(UserError, match="int8 is multiplied on a CPU only"),
        decoding_form(nn.Linear(4, 4, device="meta"), "int8", 9),
    ):
        pass


def test_without_onednn_bf16_is_a_plain_product(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    weight = torch.randn(3, 4).bfloat16()
    assert packed(weight) is weight
    linear = nn.Linear(4, 3)
    with torch.inference_mode(), decoding_form(linear, "bf16", 9):
        assert linear(torch.randn(2, 4)).dtype == torch.float32


@pytest.mark.parametrize("name", ["greedy", "sample", "beam"])
@pytest.mark.parametrize("weights", ["same", "bf16", "int8"])
def test_decodings_take_the_option(name, weights):
    model, seen = decoder(), set()
    model.register_forward_pre_hook(lambda m, _: seen.add(getattr(vars(m.head.logits).get("forward"), "how", "none")))
    options = {"cache": build("cache", "growing"), "max_new_tokens": 20, "generator": 1}
    build("decoding", name, weights=weights).generate(model, Batch(IDS[:, :4]), **options)
    assert seen == {weights}
    with pytest.raises(UserError, match="weights"):
        build("decoding", name, weights="int4")


def test_both_models_of_speculative_decoding_take_it():
    large, small, seen = decoder(), decoder(), set()
    for who in (large, small):
        who.register_forward_pre_hook(lambda m, _: seen.add((m is large, vars(m.head.logits)["forward"].how)))
    part = build("decoding", "speculative", weights="int8")
    part.attach(small)
    part.generate(large, Batch(IDS[:1, :4]), cache=build("cache", "growing"), max_new_tokens=20, generator=1)
    assert seen == {(True, "int8"), (False, "int8")}


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("rows", [1, 5, 16, 40])
def test_a_layout_for_several_rows_gives_the_same(monkeypatch, rows, onednn):
    if not onednn:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    linear, others = nn.Linear(24, 40), (nn.Linear(24, 8, bias=False),)
    with torch.inference_mode(), decoding_form(nn.ModuleList([linear, *others]), "same", 99, 5):
        x = torch.randn(rows, 24)
        found = linear(x), *decode_products.together(x, [linear, *others])
        assert vars(linear)["forward"].laid.weight.is_mkldnn == (onednn and torch.backends.mkldnn.is_available())
        want = F.linear(x, linear.weight, linear.bias)
        for y, wanted in zip(found, (want, want, F.linear(x, others[0].weight)), strict=True):
            assert torch.allclose(y, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "texts", "rows"), [("greedy", 1, 1), ("sample", 2, 2), ("beam", 2, 2 * 4), ("speculative", 1, 1 + 4)]
)
def test_the_layout_is_for_the_rows_that_a_pass_has(name, texts, rows):
    model, seen = decoder(), set()
    model.register_forward_pre_hook(lambda m, _: seen.add(vars(m.head.logits)["forward"].rows))
    made = build("decoding", name)
    if name == "speculative":
        made.draft = decoder()
    made.generate(model, Batch(IDS[:texts, :4]), cache=build("cache", "growing"), max_new_tokens=20, generator=1)
    assert seen == {rows}
