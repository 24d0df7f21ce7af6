"""Models of every kind: masked language models, encoder-decoders, recurrent ones, classifiers of text and of numbers, small networks."""

from __future__ import annotations

import pytest
import torch
from small import leaf_flower, subject_of_model
from test_trace import arrays, ids_of
from torch import nn

from components.core.errors import UserError
from components.core.sockets import Batch
from components.explain import mixers
from components.explain.explanation import Explanation
from components.explain.trace import Ends
from components.explain.tracing import Options, trace

SOURCE = {"d_model": 32, "context_length": 40}


def test_a_mask_is_guessed():
    subject = subject_of_model(
        "encoder", {"loss": {"name": "masked_lm", "mask_id": 3}}, d_model=32, n_layers=2, context_length=40
    )
    data = trace(subject, "the [MASK]at", Options(loss=True))
    at = ids_of(data).index(3)
    assert data.tokens[at].text == "<mask>"
    assert data.generation is None
    assert "sees later tokens" in data.why_not
    with torch.no_grad():
        row = subject.model(torch.tensor([ids_of(data)]))[0, at]
    assert data.answers[at].id == int(row.argmax())
    assert data.sides[0].causal is False
    assert data.mixers[0].weights.tensor.triu(1).any(), "it reads what follows"
    assert data.backward.loss > 0


def test_a_mask_needs_a_loss_that_has_one():
    with pytest.raises(UserError, match="no mask"):
        trace(subject_of_model(d_model=16, n_layers=1, context_length=40), "a [MASK]", Options())


@pytest.mark.parametrize("name", ["encoder_decoder", "recurrent"])
def test_encoder_decoders_read_a_source(name):
    options = {**SOURCE, "n_layers": 2} if name == "encoder_decoder" else {**SOURCE, "cross": {"name": "gqa", "n_heads": 4}}
    subject = subject_of_model(name, {"loss": {"name": "seq2seq"}}, **options)
    data = trace(subject, "the cat", Options(new_tokens=5, loss=True))
    source = [x.id for x in data.source]
    assert subject.tokenizer.decode(source).endswith("the cat")
    assert [s.tokens for s in data.sides] == ["source", "tokens"]
    crossed = [m for m in data.mixers if m.crossed]
    assert len(crossed) == (2 if name == "encoder_decoder" else 1)
    for m in crossed:
        assert list(m.weights.tensor.shape) == [4, len(ids_of(data)), len(source)]
        torch.testing.assert_close(m.weights.tensor.sum(-1), torch.ones(4, len(ids_of(data))))
    own = [m for m in data.mixers if not m.crossed and m.side == 0]
    assert {m.weights.tensor.shape[-1] for m in own} == {len(source)}
    assert list(data.influence.tensor.shape) == [len(ids_of(data)), len(source)]
    with torch.no_grad():
        logits = subject.model(Batch(torch.tensor([ids_of(data)]), source=Batch(torch.tensor([source]))))[0]
    for t, p in enumerate(data.predictions):
        assert p.top[0][1] == pytest.approx(float(logits[t, int(p.top[0][0])]), abs=1e-5)
    for array in arrays(data):
        assert array.tensor.isfinite().all()
    assert data.backward.loss > 0


def test_a_recurrence_that_hands_its_state_on_is_recorded():
    data = trace(subject_of_model("recurrent", {"loss": {"name": "seq2seq"}}, **SOURCE), "the cat", Options(new_tokens=3))
    assert [m.how for m in data.mixers] == [mixers.GRADIENT, mixers.GRADIENT]
    assert [m.path for m in data.mixers] == ["encoder.0", "decoder.0"]


def test_texts_get_labels():
    nodes = {"loss": {"name": "classification"}}
    head = {"name": "classification", "n_classes": 3}
    subject = subject_of_model("encoder", nodes, ["cat", "dog", "owl"], d_model=32, n_layers=2, context_length=40, head=head)
    data = trace(subject, "it meows", Options(loss=True, target="dog"))
    with torch.no_grad():
        scores = subject.model(torch.tensor([ids_of(data)]))[0]
    assert data.whole.names == ["cat", "dog", "owl"]
    assert data.whole.scores == pytest.approx(scores.tolist(), abs=1e-6)
    assert data.answers[0].said == ["cat", "dog", "owl"][int(scores.argmax())]
    assert data.backward.loss == pytest.approx(float(-scores.log_softmax(-1)[1]), rel=1e-5)
    assert list(data.influence.tensor.shape) == [1, len(ids_of(data))]
    assert data.predictions == []
    made = Explanation([data], [subject.config])
    assert data.answers[0].said in made.table()
    assert len(repr(made)) < 300
    assert f"{len(data['tokens'])} tokens" in repr(made)
    with pytest.raises(UserError, match="cat, dog, owl"):
        trace(subject, "it meows", Options(loss=True, target="cow"))


def test_the_sums_of_leaf_and_flower():
    data = trace(leaf_flower(), "32,107,56,11.2", Options(loss=True, target="leaf"))
    first, last = data.network.layers
    assert first.inputs[0] == pytest.approx([32, 107, 56, 11.2])
    assert first.sums[0][0] == pytest.approx(-26.598 + 0.25, abs=1e-4)
    for j, row in enumerate(first.weights):
        total = sum(w * x for w, x in zip(row, first.inputs[0])) + first.bias[j]
        assert first.sums[0][j] == pytest.approx(total, abs=1e-4)
        assert first.outputs[0][j] == pytest.approx(max(0.0, total), abs=1e-4)
    assert last.sums[0] == pytest.approx(data.whole.scores)
    assert data.network.names == Ends(inputs=["red", "green", "blue", "volume"], outputs=["leaf", "flower"])
    assert data.whole.p == pytest.approx(torch.tensor(last.sums[0]).softmax(-1).tolist())
    assert data.values.given == [[32, 107, 56, 11.2]]


def test_numbers_are_scaled_as_the_data_scale_theirs():
    data = trace(leaf_flower(255.0), "32,107,56,11.2", Options())
    assert data.network.layers[0].inputs[0] == pytest.approx([x / 255 for x in (32, 107, 56, 11.2)])
    assert data.values.given == [[32, 107, 56, 11.2]]
    assert any("scaled" in note for note in data.notes)


@pytest.mark.parametrize("prompt", ["leaf", "1,2,3", ""])
def test_what_is_no_row_of_numbers_is_refused(prompt):
    with pytest.raises(UserError, match="--prompt"):
        trace(leaf_flower(), prompt, Options())


def test_pictures_in_patches():
    head = {"name": "classification", "n_classes": 2}
    nodes = {"loss": {"name": "classification"}}
    embedding = {"name": "patches", "d_in": 4}
    subject = subject_of_model(
        "encoder", nodes, ["a", "b"], d_model=16, n_layers=1, context_length=16, embedding=embedding, head=head
    )
    data = trace(subject, ",".join(str(i / 16) for i in range(16)), Options())
    assert len(data.tokens) == 4
    assert data.mixers[0].weights.tensor.shape[-1] == 4
    assert data.network is None


def test_a_window_of_letters_shows_the_network_of_each_position():
    options = {"d_model": 1, "window": 3, "hidden": (2,), "embedding": "number", "context_length": 40}
    subject = subject_of_model("mlp", **options)
    data = trace(subject, "abc", Options(new_tokens=2))
    layers = data.network.layers
    assert len(layers[0].inputs) == len(data.tokens)
    assert layers[0].inputs[3] == pytest.approx([x.id for x in data.tokens[1:4]])
    assert layers[-1].sums[3] == pytest.approx(subject.model(torch.tensor([ids_of(data)]))[0, 3].tolist(), abs=1e-5)


def test_amounts():
    head = {"name": "regression", "n_values": 2} if "n_values" in registered("head", "regression") else {"name": "regression"}
    subject = subject_of_model(
        "encoder", {"loss": {"name": "regression"}}, d_model=16, n_layers=1, context_length=40, head=head
    )
    data = trace(subject, "abc", Options())
    assert data.output_kind == "amounts"
    assert data.whole.p is None
    with torch.no_grad():
        assert data.whole.scores == pytest.approx(subject.model(torch.tensor([ids_of(data)])).reshape(-1).tolist(), abs=1e-6)


def registered(kind, name):
    from components.core import registry

    return registry.entry(kind, name).signature.options


def test_experts_are_named():
    subject = subject_of_model(d_model=16, n_layers=1, context_length=40, ffn={"name": "moe", "n_experts": 4})
    data = trace(subject, "abc", Options(new_tokens=0))
    rows = data.layers[0].branches[1].neurons.experts
    assert [len(r) for r in rows] == [2] * len(data.tokens)
    assert {e for row in rows for e, _ in row} <= {0, 1, 2, 3}


def test_a_stranger_in_attentions_place_is_shown_by_its_gradient():
    class Mean(nn.Module):
        """The mean of all positions so far; no part, and it tells nobody what it reads."""

        def forward(self, x, info):  # noqa: ARG002
            return x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[None, :, None]

    subject = subject_of_model(d_model=16, n_layers=1, context_length=40)
    subject.model.stack.layers[0].block.attention = Mean()
    data = trace(subject, "abcd", Options(new_tokens=0))
    (m,) = data.mixers
    assert m.how == mixers.GRADIENT
    t = len(data.tokens)
    expected = torch.ones(t, t).tril() / torch.arange(1, t + 1)[:, None]
    torch.testing.assert_close(m.weights.tensor[0], expected, atol=1e-5, rtol=1e-5)
