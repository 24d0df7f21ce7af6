"""While a text is written, a token passes the layers by the short way: bit for bit what they give otherwise, for every part, and at no other time."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import nullcontext
from itertools import pairwise

import pytest
import torch
from torch import nn

from components import build
from components.check.host import scramble
from components.core import registry
from components.core.errors import UserError
from components.core.sockets import Batch, Layer
from components.functional import chosen, watch
from components.functional.decode_products import decoding_form
from components.functional.token_steps import StepsByToken, StepsLayers, TokenLayer, step_of, token_steps
from components.parts.decoding import _loop

V, D, T = 24, 32, 12
IDS = torch.randint(0, V, (2, T), generator=torch.Generator().manual_seed(0))
KINDS = ("attention", "ffn", "norm", "position", "block", "residual", "embedding", "stack", "mask", "value", "gate", "sharing")
INSIDE = {"mask": "attention", "value": "attention", "gate": "attention", "sharing": "attention"}
CASES = [(kind, name) for kind in KINDS for name in registry.names(kind)]
PLAIN = {"name": "gqa", "n_heads": 4}


def decoder(dtype=torch.float32, **options):
    model = build("model", "decoder", vocab_size=V, d_model=D, n_layers=2, context_length=64, **options)
    return scramble(model.eval(), 0.2).to(dtype)


def options_of(kind, name):
    return {"attention": {**PLAIN, kind: name}} if kind in INSIDE else {kind: name}


@torch.inference_mode()
def logits(model, ids=IDS, cache="growing", valid=None):
    """Of every position, as decoding reads: a prompt, then one token at a time."""
    kept = build("cache", cache, **({"max_length": 32} if cache == "static" else {}))
    positions = None if valid is None else (valid.long().cumsum(1) - 1).clamp(min=0)

    def some(a, b):
        given = {} if valid is None else {"valid": valid[:, a:b], "positions": positions[:, a:b]}
        return Batch(ids[:, a:b], **given)

    return torch.cat([model(some(a, b), cache=kept) for a, b in pairwise((0, 5, *range(6, T + 1)))], 1)


def both(model, **given):
    """Logits without and with the short way, each within the decoding form."""
    with decoding_form(model, "same", 99):
        plain = logits(model, **given)
        with token_steps(model):
            found = logits(model, **given)
    return plain, found


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_every_part_gives_the_same_bits(kind, name):
    try:
        model = decoder(**options_of(kind, name))
        logits(model)
    except (UserError, ValueError, NotImplementedError) as e:
        pytest.skip(f"no part of a decoder that reads ids: {e}")
    plain, found = both(model)
    assert torch.equal(found, plain)
    plain, found = both(model, ids=IDS[:1])
    assert torch.equal(found, plain)


RICH = {
    "grouped heads": {"n_kv_heads": 2, "bias": ["q", "v", "out"]},
    "a norm of heads": {"qk_norm": "rms", "position": "rope"},
    "a norm of heads with a shift": {"qk_norm": "layer", "position": "rope"},
    "a norm after the rotation": {"qk_norm": "rms", "qk_norm_at": "after", "position": "rope"},
    "a norm of all heads": {"qk_norm": "rms", "qk_norm_over": "full"},
    "scales of each head": {"qk_norm": "rms", "qk_norm_over": "per_head_weight"},
    "a window, sinks and a cap": {"mask": {"name": "sliding_window", "window": 3}, "sinks": True, "soft_cap": 5.0},
    "a gate and a bias on scores": {"gate": "elementwise", "position": "alibi"},
    "clipped": {"clip": 0.5},
    "wide heads": {"head_dim": 24},
    "a scale by layer": {"scale_by_layer": True},
}


@pytest.mark.parametrize("cache", ["growing", "static", "ring", "int8"])
@pytest.mark.parametrize("padded", [False, True], ids=["even", "padded"])
@pytest.mark.parametrize("what", RICH)
def test_options_of_attention_give_the_same_bits(what, padded, cache):
    attention = {**PLAIN, **RICH[what]}
    position = attention.pop("position", "learned")
    valid = torch.ones(2, T, dtype=torch.bool)
    valid[1, :2] = False
    model = decoder(attention=attention, position=position, ffn={"name": "glu", "bias": True})
    plain, found = both(model, cache=cache, valid=valid if padded else None)
    assert torch.equal(found, plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("how", ["same", "bf16", "int8"])
def test_every_layout_and_precision_gives_the_same_bits(how, dtype):
    model = decoder(dtype, attention={**PLAIN, "n_kv_heads": 2}, ffn="glu")
    with decoding_form(model, how, 99):
        plain = logits(model)
        with token_steps(model):
            assert torch.equal(logits(model), plain)


def test_without_a_form_too():
    model = decoder()
    with token_steps(model):
        found = logits(model)
    assert torch.equal(found, logits(model))


def test_autocast_is_heeded():
    model = decoder(ffn="glu")
    with torch.autocast("cpu", torch.bfloat16), decoding_form(model, "same", 99):
        plain = logits(model)
        with token_steps(model):
            assert torch.equal(logits(model), plain)


def calls(model, text):
    """Calls of ``nn.Module.__call__`` while the last token of a text passes."""
    found = Counter()

    def seen(frame, event, _):
        if event == "call" and frame.f_code is nn.Module._call_impl.__code__:
            found[type(frame.f_locals["self"]).__name__] += 1

    cache = build("cache", "growing")
    with torch.inference_mode():
        model(Batch(text[:, :-1]), cache=cache)
        model(Batch(text[:, -1:]), cache=cache)
        sys.setprofile(seen)
        try:
            model(Batch(text[:, -1:]), cache=cache)
        finally:
            sys.setprofile(None)
    return found


def test_a_token_calls_no_module_of_a_plain_layer():
    model = decoder(attention=PLAIN, ffn="glu")
    with decoding_form(model, "same", 99):
        assert calls(model, IDS[:1])["RMSNorm"] == 5  # two a layer, and the last
        with token_steps(model):
            found = calls(model, IDS[:1])
    assert found["Layer"] == 2
    assert found["RMSNorm"] == 1
    assert found["Linear"] == 1, "the head"
    assert not {"PreNorm", "GroupedQueryAttention", "GLU"} & set(found)


def test_a_part_without_a_step_is_asked_itself():
    model = decoder(attention="linear", ffn="glu")
    with token_steps(model):
        found = calls(model, IDS[:1])
    assert found[type(model.stack.layers[0].block.attention).__name__] == 2
    assert found["GLU"] == 0


@pytest.mark.parametrize("where", ["layer", "part"])
def test_what_somebody_has_hooked_is_asked_itself(where):
    model, seen = decoder(), []
    layer = model.stack.layers[1]
    (layer if where == "layer" else layer.block.ffn.out).register_forward_hook(lambda *_: seen.append(0))
    with token_steps(model):
        assert isinstance(vars(model.stack.layers[0]).get("forward"), TokenLayer)
        assert "forward" not in vars(layer)
        logits(model)
    assert len(seen) == T - 4


def test_a_hook_on_all_modules_is_heard():
    model, seen = decoder(), []
    handle = nn.modules.module.register_module_forward_hook(lambda m, *_: seen.append(type(m).__name__))
    try:
        with token_steps(model):
            logits(model)
    finally:
        handle.remove()
    assert seen.count("PreNorm") == 2 * (T - 4)


@pytest.mark.parametrize("way", ["compile", "torch.compile"])
def test_a_compiled_model_is_left_as_it_is(way):
    model = decoder()
    if way == "compile":
        model.stack.layers[0]._compiled_call_impl = lambda *_: None
    wrapped = nn.Module()
    wrapped._orig_mod = model
    with token_steps(model if way == "compile" else wrapped):
        assert not any("forward" in vars(m) for m in model.modules())


def test_a_layer_with_a_forward_of_its_own_keeps_it():
    class Mine(Layer):
        def forward(self, s, info):
            return super().forward(2 * s, info)

    model = decoder()
    old = model.stack.layers[0]
    model.stack.layers[0] = Mine(old.block, old.place).eval()
    plain, found = both(model)
    assert torch.equal(found, plain)


def test_a_forward_further_down_has_no_step_of_before():
    ffn = decoder(ffn="glu").stack.layers[0].block.ffn
    assert isinstance(ffn, StepsByToken)
    assert step_of(ffn) is not None

    class Mine(type(ffn)):
        def forward(self, x, info=None):
            return 2 * super().forward(x, info)

    ffn.__class__ = Mine
    assert step_of(ffn) is None


def test_a_norm_that_counts_goes_on_counting():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.ones(()))

        def forward(self, x):
            self.seen = self.seen + 1
            return x * self.seen

    model, found = decoder(), []
    for short in (False, True):
        model.stack.layers[0].block.attention_norm = Counting().eval()
        with token_steps(model) if short else nullcontext():
            found.append(logits(model))
    assert torch.equal(*found)


def test_it_is_gone_afterwards_and_after_an_error():
    model = decoder()
    assert all(isinstance(layer.block, StepsLayers) for layer in model.stack.layers)
    with token_steps(model):
        assert all(isinstance(vars(x)["forward"], TokenLayer) for x in model.stack.layers)
    assert not any("forward" in vars(m) for m in model.modules())
    with pytest.raises(KeyError), token_steps(model):
        raise KeyError
    assert not any("forward" in vars(m) for m in model.modules())


def test_gradients_and_training_go_the_long_way():
    model = decoder()
    with token_steps(model):
        cache = build("cache", "growing")
        model(Batch(IDS[:, :4]), cache=cache)
        model(Batch(IDS[:, 4:5]), cache=cache).sum().backward()
    assert all(x.block.ffn.out.weight.grad is not None for x in model.stack.layers)
    with token_steps(model.train()):
        assert not any("forward" in vars(m) for m in model.modules())


def test_who_listens_hears_of_every_token():
    model, seen = decoder(), []
    with token_steps(model), watch.watching(lambda word, **_: seen.append(word)):
        logits(model)
    assert seen.count("softmax") == 2 * (T - 4)
    with chosen.hearing() as heard, token_steps(model):
        logits(model)
    assert "2 of 2 by the short way" in chosen.in_a_line(heard)
    assert any(c.operation == "attention" and c.why == "one query at a time" for c in heard)


@pytest.mark.parametrize("name", ["greedy", "sample", "beam", "speculative"])
def test_decodings_go_the_short_way(name):
    model, seen = decoder(), set()
    model.register_forward_pre_hook(lambda m, _: seen.add(type(vars(m.stack.layers[0]).get("forward"))))
    made = build("decoding", name)
    if name == "speculative":
        made.draft = decoder()
    made.generate(model, Batch(IDS[:1, :4]), cache=build("cache", "growing"), max_new_tokens=20, generator=1)
    assert seen == {TokenLayer}


@pytest.mark.parametrize("cross", ["gqa", "sliding_window"])
def test_a_layer_that_reads_a_memory_gives_the_same_text(cross, monkeypatch):
    sizes = {"vocab_size": V, "d_model": D, "n_layers": 2, "context_length": 64}
    model = scramble(build("model", "encoder_decoder", **sizes, cross=cross).eval(), 0.2)
    batch, texts = Batch(IDS[:, :1], source=Batch(IDS)), []
    for short in (False, True):
        if not short:
            monkeypatch.setattr(_loop, "token_steps", lambda _: nullcontext())
        cache = build("cache", "growing")
        texts.append(build("decoding", "sample").generate(model, batch, cache=cache, max_new_tokens=20, generator=1))
        monkeypatch.undo()
    assert torch.equal(*texts)
    assert len(set(texts[0].flatten().tolist())) > 9
