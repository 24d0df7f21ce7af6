"""``components.trace``: hidden states, weights and every module's output of any model, equal to what hooks see, and the model left as it was."""

from __future__ import annotations

import pytest
import torch
from hosts import decoder, ids, parts, scramble
from small import subject_of_model
from test_mixers import EXACT
from torch import Tensor, nn

import components
from components.check.host import VOCAB
from components.core.errors import UserError
from components.core.sockets import Batch
from components.explain import mixers

HOW = {f"attention/{name}": how for how, names in EXACT.items() for name in names}


def hooked(model: nn.Module, batch: Tensor | Batch) -> tuple[object, dict[str, list[object]]]:
    """What plain hooks see, copied at once: the independent way."""
    seen: dict[str, list[object]] = {}

    def keep(path: str):
        def hook(module, args, output):  # noqa: ARG001
            first = output[0] if isinstance(output, tuple) else output
            seen.setdefault(path, []).append(first.clone() if isinstance(first, Tensor) else None)

        return hook

    handles = [m.register_forward_hook(keep(p)) for p, m in model.named_modules()]
    with torch.no_grad():
        out = model(batch)
    for h in handles:
        h.remove()
    return out, seen


def same_as_hooks(model: nn.Module, batch: Tensor | Batch) -> components.explain.activations.Activations:
    out, seen = hooked(model.eval(), batch)
    t = components.trace(model, batch)
    assert torch.equal(t.logits, out)
    expected = {p if len(c) == 1 else f"{p}:{i}": x for p, c in seen.items() if p for i, x in enumerate(c) if x is not None}
    assert t.names() == list(expected)
    assert all(torch.equal(t[name], x) for name, x in expected.items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    return t


@pytest.mark.parametrize("label", parts("attention"))
def test_every_attention_in_a_batch(label):
    """Rows of a batch have the weights that each has alone; a mixer without weights says why."""
    model = scramble(decoder(label), 0.3)
    values = ids(seed=3)[:, :8]
    assert values.shape[0] > 1
    t = same_as_hooks(model, values)
    length = values.shape[1]
    assert [tuple(h.shape) for h in t.hidden] == [(*values.shape, t.embedded.shape[-1])] * len(t.layers)
    for n, layer in enumerate(t.layers):
        if HOW.get(label) in (mixers.SOFTMAX, mixers.EQUIVALENT) or label == "attention/parallel_hybrid":
            assert layer.attention.shape == (len(values), layer.attention.shape[1], length, length)
            assert layer.why_no_attention == ""
            for row in range(len(values)):
                alone = components.trace(model, values[row : row + 1]).attention[n]
                torch.testing.assert_close(layer.attention[row], alone[0], atol=1e-5, rtol=1e-4)
        else:
            assert layer.attention is None
            assert len(layer.why_no_attention) > 20
    if HOW.get(label) == mixers.SOFTMAX and label not in (
        "attention/differential",
        "attention/talking_heads",
        "attention/forgetting",
    ):
        torch.testing.assert_close(t.attention[0].sum(-1), torch.ones(t.attention[0].shape[:-1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("stack", ["looped", "u_net", "dense"])
def test_other_stacks(stack):
    """A looped stack has an entry for each pass through a layer, and its modules' outputs are numbered."""
    options = {"name": stack, "loops": 2} if stack == "looped" else stack
    model = scramble(decoder(stack=options, n_layers=4), 0.3)
    t = same_as_hooks(model, ids(seed=1))
    visits = [(x.path, x.visit) for x in t.layers]
    assert len(visits) == len(set(visits)) == (8 if stack == "looped" else 4)
    if stack == "looped":
        assert torch.equal(t["stack.layers.0:1"], t.layers[4].hidden)
        with pytest.raises(UserError, match=r"stack\.layers\.0:0, .*stack\.layers\.0:1"):
            t["stack.layers.0"]


@pytest.mark.parametrize("residual", ["hyper_connections", "gated"])
def test_a_wide_stream_is_closed(residual):
    t = same_as_hooks(scramble(decoder(residual=residual), 0.3), ids(seed=1))
    assert all(h.shape == t.embedded.shape == (*ids(seed=1).shape, t.embedded.shape[-1]) for h in t.hidden)
    assert torch.equal(t.layers[-1].logits(), t.logits)  # the lens after the last layer is the answer


def test_a_mixture_of_experts_says_who_chose_whom():
    model = scramble(decoder(ffn={"name": "moe", "n_experts": 4, "router": {"name": "softmax_top_k", "k": 2}}), 0.3)
    t = same_as_hooks(model, ids(seed=1))
    routing = t.layers[1].routing
    assert routing.tokens.max() == ids(seed=1).numel() - 1
    assert routing.n_experts == 4
    assert decoder_routing_is_none()


def decoder_routing_is_none() -> bool:
    t = components.trace(decoder(), ids())
    return t.layers[0].routing is None and t.layers[0].neurons.dim() == 3


def test_an_encoder_decoder_has_both_sides_and_their_crossing():
    model = build_model("encoder_decoder", attention={"name": "gqa", "n_heads": 4})
    batch = Batch(ids(seed=1)[:, :5], source=Batch(ids(seed=2)[:, :7]))
    t = same_as_hooks(model, batch)
    rows = len(batch.ids)
    assert [x.path for x in t.layers] == ["decoder.layers.0", "decoder.layers.1"]
    assert [x.path for x in t.encoder] == ["encoder.layers.0", "encoder.layers.1"]
    assert t.cross[0].shape == (rows, 4, 5, 7)
    assert t.attention[0].shape == (rows, 4, 5, 5)
    assert t.encoder[0].attention.shape == (rows, 4, 7, 7)
    assert bool((t.encoder[0].attention[..., 0, 1:] > 0).all())  # an encoder looks ahead
    assert not t.attention[0].triu(1).any()
    assert t.encoder[0].cross is None
    with pytest.raises(UserError, match=r"2 outputs are called so; one of encoder\.layers\.1.*decoder\.layers\.1"):
        t["layers.1.ffn"]


def test_an_encoder_with_padding():
    model = build_model("encoder")
    values = ids(seed=1)
    valid = torch.ones_like(values, dtype=torch.bool)
    valid[0, 6:] = False
    t = same_as_hooks(model, Batch(values, valid=valid))
    assert not t.attention[0][0, :, :6, 6:].any()
    assert t.attention[0][1, :, :6, 6:].any()


def test_models_without_layers():
    t = same_as_hooks(build_model("mlp", d_model=8, context_length=12), ids(seed=1))
    assert t.layers == [] == t.hidden
    assert t.embedded is None
    model = build_model("recurrent", d_model=16)
    batch = Batch(ids(seed=1)[:, :5], source=Batch(ids(seed=2)[:, :7]))
    t = components.trace(model, batch)
    with torch.no_grad():
        assert torch.equal(t.logits, model(batch))


def build_model(name: str, **options: object) -> nn.Module:
    sizes = {"n_layers": 2} if name in ("encoder", "encoder_decoder") else {}
    options = {"d_model": 32, "context_length": 16, **sizes, **options}
    return scramble(components.build("model", name, vocab_size=VOCAB, **options).eval(), 0.3)


def test_a_module_of_somebody_else():
    """No part of ours in it: names and outputs all the same, and what is written in place later does not change them."""
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4), nn.ReLU(inplace=True))
    t = same_as_hooks(model, torch.arange(6).view(2, 3))
    assert (t["1"] < 0).any()
    assert t.layers == []


def test_short_names_mean_one_module():
    t = components.trace(decoder(), ids())
    assert torch.equal(t["layers.1.ffn"], t["stack.layers.1.block.ffn"])
    assert torch.equal(t["layers.1"], t.hidden[1])
    assert "layers.1.ffn" in t
    assert "ffn" not in t
    assert t.get("layers.7") is None
    with pytest.raises(KeyError, match=r"layers\.7: no module of that name returned a tensor; "):
        t["layers.7"]


def test_the_model_is_as_it_was_after_an_error_too():
    model = decoder().train()
    before = [m.training for m in model.modules()]
    components.trace(model, ids())
    assert [m.training for m in model.modules()] == before

    def fails(*args):  # noqa: ARG001
        raise RuntimeError("in the middle")

    handle = model.stack.layers[1].register_forward_pre_hook(fails)
    with pytest.raises(RuntimeError, match="in the middle"):
        components.trace(model, ids())
    handle.remove()
    assert [m.training for m in model.modules()] == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    from components.functional import watch

    assert watch.sink is None


def test_weights_are_computed_only_when_they_are_asked_for(monkeypatch):
    from components.explain import layer_activations

    asked = []
    real = layer_activations.batch_readings
    monkeypatch.setattr(layer_activations, "batch_readings", lambda call: asked.append(call.path) or real(call))
    t = components.trace(decoder(), ids())
    assert t.hidden
    assert not asked
    assert t.layers[1].attention is t.layers[1].attention
    assert asked == ["stack.layers.1.block.attention"]


def test_gradients_reach_what_was_recorded():
    model = scramble(decoder(), 0.3)
    t = components.trace(model, ids(), gradients=True)
    (g,) = torch.autograd.grad(t.logits[0, -1, 5], t.hidden[0])
    assert g[0].abs().sum() > 0
    assert not g[1].any()  # rows are independent
    assert not components.trace(model, ids()).hidden[0].requires_grad


def test_texts_of_what_load_returns():
    subject = subject_of_model(d_model=32, n_layers=2, context_length=40, attention={"name": "gqa", "n_heads": 4})
    t = components.trace(subject, ["a dog", "a"])
    first, second = t.tokens
    assert first[-5:] == list("a dog")
    assert second[-4:] == [""] * 4
    alone = components.trace(subject, "a")
    n = alone.logits.shape[1]
    torch.testing.assert_close(t.logits[1, :n], alone.logits[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(t.attention[1][1, :, :n, :n], alone.attention[1][0], atol=1e-5, rtol=1e-4)
    figure = t.figure(1, row=0)
    assert figure.axes[0].get_title() == "attention of layer 1, head 0"
    assert [x.get_text() for x in figure.axes[0].get_xticklabels()][-5:] == list("a dog")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: components.trace(decoder(), "text"), "ids: a model alone has no tokenizer; give ids"),
        (lambda: components.trace("gpt_nowhere", "text"), "gpt_nowhere"),
        (lambda: components.trace(decoder("attention/gru"), ids()).figure(0), "layer: .* has no weights"),
        (lambda: components.trace(decoder(), ids()).figure(7), "layer: there is no layer 7; the pass went through 2 layers"),
        (lambda: components.trace(subject_of_model(d_model=32), []), "ids: there is no text in it"),
    ],
)
def test_refused_in_one_line(call, said):
    with pytest.raises(UserError, match=said):
        call()


def test_it_shows_itself():
    t = components.trace(decoder(), ids())
    assert repr(t).startswith("<Activations of 2 layers, output (")
    html = t._repr_html_()
    assert "stack.layers.1.block.ffn" in html
    assert html.count("<tr>") == len(t.names()) + 1
