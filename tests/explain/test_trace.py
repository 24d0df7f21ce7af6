"""What the trace says is what the model computed: of every part on a model's path, and each figure computed again."""

from __future__ import annotations

import pytest
import torch
from small import DECODING, subject_for, subject_of_model, unpacked
from torch import nn

from components.check.host import ON_PATH
from components.core import registry
from components.core.errors import UserError
from components.core.makers import make
from components.core.sockets import Batch
from components.explain.pack import Array, as_data, packed
from components.explain.page import page
from components.explain.subject import Subject
from components.explain.tracing import Options, trace
from components.generation.generating import generate

PARTS = [e.label for e in registry.entries().values() if e.kind in ON_PATH and e.kind != "init"]
ELSEWHERE = {
    "embedding/value_embeddings"
}  # it writes for a value that reads it, which the battery's host of `value/embedding` has


def test_there_are_parts():
    assert len(PARTS) > 90


@pytest.mark.parametrize("label", PARTS)
def test_every_part_is_explained(label):
    """A trace comes out, every number in it is finite, its probabilities are those of the model, and it fits on a page."""
    subject = prepared(label)
    if subject is None:
        return
    data = trace(subject, "the cat", Options(new_tokens=3))
    assert data.model.parameters == sum(p.numel() for p in subject.model.parameters())
    if "absent" not in (registry.entry(*label.split("/")).signature.declared.get("provides") or ()) and label != "ffn/none":
        assert label in {n.label for n in nodes(data.model)}
    for array in arrays(data):
        assert array.tensor.isfinite().all()
    if data.predictions:
        assert data.tokens[-1].id == ids_of(data)[-1]
        with torch.no_grad():
            logits = subject.model(batch_of(data))[0]
        for t, p in enumerate(data.predictions):
            i, logit, chance = p.top[0]
            assert logit == pytest.approx(float(logits[t, i]), abs=1e-5)
            assert chance == pytest.approx(float(logits[t].softmax(-1)[i]), abs=1e-6)
    whole = page([data], [subject.config])
    assert whole.count("<script") == 2
    assert len(whole.encode()) < 3_000_000


def prepared(label) -> Subject | None:
    """A subject with the part in it; what reads numbers or a source is asked in other tests."""
    kind, name = label.split("/")
    entry = registry.entry(kind, name)
    provides = entry.signature.declared.get("provides") or ()
    if "values" in provides or "values" in str(entry.signature.declared.get("needs")):
        return None
    try:
        return subject_for(label, ["model.context_length=40"] if label not in ELSEWHERE and kind != "model" else ())
    except UserError as e:
        if "context_length" not in str(e):
            raise
        return subject_for(label)


def nodes(node):
    yield node
    for child in node.children:
        yield from nodes(child)


def arrays(value):
    value = as_data(value)
    if isinstance(value, Array):
        yield value
    elif isinstance(value, (dict, list)):
        for v in value.values() if isinstance(value, dict) else value:
            yield from arrays(v)


def ids_of(data):
    return [x.id for x in data.tokens]


def batch_of(data):
    source = None if data.source is None else Batch(torch.tensor([[x.id for x in data.source]]))
    return Batch(torch.tensor([ids_of(data)]), source=source)


@pytest.fixture(scope="module")
def decoder():
    return subject_of_model(d_model=32, n_layers=3, context_length=48, attention={"name": "gqa", "n_heads": 4, "n_kv_heads": 2})


@pytest.fixture(scope="module")
def explained(decoder):
    return trace(decoder, "the cat sat", Options(new_tokens=6, loss=True))


def test_it_wrote_what_generate_writes(decoder, explained):
    (text,) = generate(decoder.model, decoder.tokenizer, decoder.config, "the cat sat", max_new_tokens=6, seed=0)
    given = explained.given - 1  # without what begins every text
    assert text == decoder.tokenizer.decode(ids_of(explained)[1:])
    assert decoder.tokenizer.decode(ids_of(explained)[1 : 1 + given]) == "the cat sat"


def test_stream_and_lens_are_the_models_own(decoder, explained):
    streams = []
    hooks = [layer.register_forward_hook(lambda *seen: streams.append(seen[-1][0])) for layer in decoder.model.stack.layers]
    with torch.no_grad():
        logits = decoder.model(torch.tensor([ids_of(explained)]))[0]
    for hook in hooks:
        hook.remove()
    for layer, s in zip(explained.layers, streams, strict=True):
        torch.testing.assert_close(layer.norm.tensor, s[0].norm(dim=-1))
    assert explained.lens[0].after == "embedding"
    last = explained.lens[-1]
    for t, row in enumerate(logits):
        assert last.top[t][0][0] == int(row.argmax()), "after the last layer the lens is the model"
        assert last.next[t] == pytest.approx(float(row.softmax(-1)[target(explained, t)]), rel=1e-4)


def target(data, t):
    known = data.predictions[t].next
    return known.id if known else int(data.predictions[t].top[0][0])


def test_without_a_branch(decoder, explained):
    """The direct effect: the stream after the last layer, less what the branch wrote, through norm and head."""
    kept = {}
    ffn = decoder.model.stack.layers[1].block.ffn
    hooks = [ffn.register_forward_hook(lambda *seen: kept.update(y=seen[-1]))]
    hooks.append(decoder.model.stack.layers[-1].register_forward_hook(lambda *seen: kept.update(s=seen[-1][0])))
    with torch.no_grad():
        decoder.model(torch.tensor([ids_of(explained)]))
        logits = decoder.model.head(decoder.model.stack.final_norm(kept["s"] - kept["y"]))[0]
    for hook in hooks:
        hook.remove()
    (row,) = [r for r in explained.without if r.path == "stack.layers.1.block.ffn"]
    for t, p in enumerate(row.p):
        assert p == pytest.approx(float(logits[t].softmax(-1)[target(explained, t)]), abs=1e-5)


def test_influence_is_the_slope(decoder, explained):
    """To first order: a small step along a token's embedding changes the logit by the step times the influence."""
    step, t, s = 1e-3, 5, 3
    ids, logits = torch.tensor([ids_of(explained)]), []
    for factor in (1 + step, 1 - step):
        hook = decoder.model.embedding.register_forward_hook(lambda *seen, f=factor: scaled(seen[-1], s, f))
        with torch.no_grad():
            logits.append(decoder.model(ids)[0, t, target(explained, t)])
        hook.remove()
    slope = float((logits[0] - logits[1]) / (2 * step))
    assert float(explained.influence.tensor[t, s]) == pytest.approx(slope, abs=2e-2)
    assert not explained.influence.tensor.triu(1).any(), "no token reaches back"


def scaled(y, s, factor):
    y = y.clone()
    y[:, s] *= factor
    return y


def test_each_step_is_drawn_as_shown(decoder, explained):
    """The samplers one by one, the number drawn, and the token whose part of the running sum it falls into."""
    steps = explained.generation.steps
    ids = ids_of(explained)
    assert len(steps) == 6
    samplers = [make(node, "sampler") for node in DECODING["samplers"]]
    with torch.no_grad():
        logits = decoder.model(torch.tensor([ids]))[0]
    for step in steps:
        t = step.position
        assert step.chosen == ids[t + 1] == step.fell_on
        row = logits[None, t]
        for stage, sampler in zip(step.stages, [None, *samplers], strict=True):
            row = row if sampler is None else sampler(row, torch.tensor([ids[: t + 1]]), None)
            p = row.double().softmax(-1)[0]
            assert stage.kept == int((p > 0).sum())
            assert stage.p == pytest.approx(float(p[step.chosen]), abs=1e-6)
        assert [s.kept for s in step.stages] == [40, 40, 5]
        assert step.from_ <= step.drawn < step.to
        assert step.to - step.from_ == pytest.approx(step.stages[-1].p, abs=1e-6)


def test_backward_is_that_of_the_text(decoder, explained):
    ids = torch.tensor([ids_of(explained)[: explained.given]])
    loss = nn.functional.cross_entropy(decoder.model(ids[:, :-1])[0], ids[0, 1:])
    names, weights = zip(*decoder.model.named_parameters())
    grads = torch.autograd.grad(loss, weights, allow_unused=True)
    assert explained.backward.loss == pytest.approx(float(loss.detach()), rel=1e-5)
    assert explained.backward.asked == ids.shape[1] - 1
    for row, name, gradient in zip(explained.backward.weights, names, grads, strict=True):
        assert row.name == name
        assert row.gradient == pytest.approx(float(gradient.norm()), rel=1e-3, abs=1e-7)
    assert all(p.grad is None for p in weights), "nothing is left behind"


def test_dead_units_are_found():
    subject = subject_of_model(
        d_model=16, n_layers=1, context_length=32, ffn={"name": "mlp", "d_ff": 12, "activation": "relu"}, norm="none"
    )
    with torch.no_grad():
        up = subject.model.stack.layers[0].block.ffn.up
        up.weight[3:5] = 0.0  # relu(0) = 0 has no slope
    data = trace(subject, "abc", Options(new_tokens=0, loss=True))
    (row,) = [w for w in data.backward.weights if w.name.endswith("ffn.up.weight")]
    assert row.dead >= 2
    assert data.layers[0].branches[1].neurons.silent >= 2


def test_long_texts_are_read_whole_and_shown_in_part(decoder):
    short = trace(decoder, "the cat sat on the mat", Options(new_tokens=4, shown=8))
    whole = trace(decoder, "the cat sat on the mat", Options(new_tokens=4, shown=64))
    first = short.first
    assert len(short.tokens) == 8
    assert ids_of(short) == ids_of(whole)[first:]
    for a, b in zip(short.mixers, whole.mixers, strict=True):
        torch.testing.assert_close(a.weights.tensor, b.weights.tensor[:, first:, first:])
        torch.testing.assert_close(a.outside.tensor + a.weights.tensor.sum(-1), torch.ones(a.heads, 8))
    assert any("are shown" in note for note in short.notes)


def test_a_bounded_model_writes_only_as_much_as_fits():
    subject = subject_of_model(d_model=16, n_layers=1, context_length=8, position="learned")
    data = trace(subject, "abcde", Options(new_tokens=10))
    assert len(data.tokens) <= 8
    assert any("at most 8 tokens" in note for note in data.notes)


def test_arrays_give_way_in_their_order():
    big = {
        "a": Array(torch.randn(100, 100)),
        "b": Array(torch.randn(100, 100), rank=2),
        "c": Array(torch.randn(100, 100), rank=3),
    }
    full, notes = packed(big, 10**6)
    assert not notes
    for name in "abc":
        assert torch.equal(unpacked(full[name]), big[name].tensor)
    half, notes = packed(big, 90_000)
    assert len(notes) == 1
    assert torch.equal(unpacked(half["c"]), big["c"].tensor.half())
    cut, notes = packed(big, 60_000)
    assert len(notes) == 2
    assert cut["c"] is None
    assert cut["a"] is not None
    assert cut["b"] is not None
