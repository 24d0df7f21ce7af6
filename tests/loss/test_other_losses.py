"""Losses against their formulas written out: values, weights, gradients, and the same in chunks."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from components import build
from components.core.sockets import Batch, SequenceInfo, Terms

V, D, B, T = 23, 8, 3, 7
IDS = torch.randint(0, V, (B, T + 1), generator=torch.Generator().manual_seed(0))


def hidden(*shape) -> torch.Tensor:
    return torch.randn(*(shape or (B, T, D)), generator=torch.Generator().manual_seed(2), requires_grad=True)


def mean(terms: Terms, name: str = "loss") -> torch.Tensor:
    value, weight = terms.losses[name]
    return value / weight


def total(terms: Terms) -> torch.Tensor:
    return sum(terms.aim.get(n, 1.0) * mean(terms, n) for n in terms.losses)


@pytest.fixture
def head():
    torch.manual_seed(0)
    return nn.Linear(D, V)


def same_gradients(found: torch.Tensor, expected: torch.Tensor, *of: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected)
    for a, b in zip(torch.autograd.grad(found, of), torch.autograd.grad(expected, of), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["masked_lm", "prefix_lm", "span_corruption", "seq2seq", "fill_in_the_middle"])
@pytest.mark.parametrize("chunk", ["all", 4])
def test_losses_over_tokens_are_cross_entropy_where_asked(head, name, chunk):
    x, targets = hidden(), IDS[:, 1:].clone()
    targets[:, ::3] = -100
    terms = build("loss", name, vocab_size=V, chunk=chunk)(x, head, Batch(IDS[:, :-1], targets))
    assert terms.losses["loss"][1] == (targets != -100).sum()
    same_gradients(total(terms), F.cross_entropy(head(x).flatten(0, 1), targets.flatten()), x, head.weight, head.bias)


@pytest.mark.parametrize("name", ["masked_lm", "prefix_lm"])
def test_only_rows_that_are_asked_go_through_the_head(head, name):
    targets = torch.full((B, T), -100)
    rows = []
    head.register_forward_hook(lambda _, args, __: rows.append(args[0].shape[:-1].numel()))
    loss = build("loss", name, vocab_size=V)
    for asked in (3, 0):
        targets[0, :3] = 5 if asked else -100
        value, weight = loss(hidden(), head, Batch(IDS[:, :-1], targets)).losses["loss"]
        assert weight == asked
        assert (value > 0) == (asked > 0)
    assert rows == [3, 1], "where nothing is asked the head still takes part in the backward pass"
    value.backward()
    assert not head.weight.grad.any()


def test_seq2seq_smooths_and_leaves_padding_out(head):
    valid = torch.ones(B, T, dtype=torch.bool)
    valid[1, 4:] = False
    x, targets = hidden(), IDS[:, 1:]
    terms = build("loss", "seq2seq", vocab_size=V, label_smoothing=0.1)(x, head, Batch(IDS[:, :-1], targets, valid=valid))
    expected = F.cross_entropy(head(x)[valid], targets[valid], label_smoothing=0.1)
    same_gradients(total(terms), expected, x, head.weight)


# -- rows -------------------------------------------------------------------------------------------------------------------


def test_classification_by_formula():
    logits = hidden(6, 4)
    targets = torch.tensor([0, 3, -100, 1, 1, 2])
    factors = (0.5, 2.0, 1.0, 0.0)
    loss = build("loss", "classification", label_smoothing=0.1, class_weights=factors)
    terms = loss(logits, lambda x: x, Batch(IDS[:, :-1], targets))
    kept = targets != -100
    each = F.cross_entropy(logits[kept], targets[kept], reduction="none", label_smoothing=0.1)
    assert terms.losses["loss"][1] == 5
    same_gradients(total(terms), (each * torch.tensor(factors)[targets[kept]]).mean(), logits)
    plain = build("loss", "classification")(logits, lambda x: x, Batch(IDS[:, :-1], targets))
    torch.testing.assert_close(total(plain), F.cross_entropy(logits, targets))


@pytest.mark.parametrize(
    ("distance", "reference"), [("l1", F.l1_loss), ("mse", F.mse_loss), ("huber", partial(F.huber_loss, delta=0.7))]
)
def test_regression_by_formula(distance, reference):
    said, targets = hidden(6, 2), torch.randn(6, 2, generator=torch.Generator().manual_seed(4)) * 3
    targets[1, 0] = float("nan")
    targets[2, 1] = -100.0  # a number like any other
    terms = build("loss", "regression", distance=distance, delta=0.7)(said, lambda x: x, Batch(IDS[:, :-1], targets))
    kept = ~targets.isnan()
    assert terms.losses["loss"][1] == 11
    same_gradients(total(terms), reference(said[kept], targets[kept]), said)
    weights = torch.rand(6, 2)
    terms = build("loss", "regression", distance=distance, delta=0.7)(said, lambda x: x, Batch(IDS[:, :-1], targets, weights))
    each = reference(said, targets.nan_to_num(0.0), reduction="none")
    torch.testing.assert_close(total(terms), (each * weights)[kept].sum() / weights[kept].sum())


def test_regression_of_one_number_and_at_each_position():
    info = SequenceInfo()
    pooled = build("head", "regression", d_model=D)
    each = build("head", "value", d_model=D)
    x = hidden()
    loss = build("loss", "regression")
    assert loss(x, partial(pooled, info=info), Batch(IDS[:, :-1], torch.ones(B))).losses["loss"][1] == B
    assert loss(x, partial(each, info=info), Batch(IDS[:, :-1], torch.ones(B, T))).losses["loss"][1] == B * T


@pytest.mark.parametrize(
    ("name", "options", "targets", "says"),
    [
        ("classification", {}, torch.zeros(2, dtype=torch.long), r"targets \(2,\) for logits \(6, 4\)"),
        ("classification", {"class_weights": (1.0, 1.0)}, torch.zeros(6, dtype=torch.long), "2 class_weights for 4"),
        ("classification", {}, None, "the class of each row"),
        ("regression", {}, torch.zeros(6), r"targets \(6,\) for \(6, 4\)"),
        ("regression", {}, None, "NaN where there is none"),
    ],
)
def test_shapes_that_do_not_fit(name, options, targets, says):
    with pytest.raises(ValueError, match=says):
        build("loss", name, **options)(hidden(6, 4), lambda x: x, Batch(IDS[:, :-1], targets))


# -- multi_token ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", ["all", 4])
def test_multi_token_predicts_each_token_from_every_distance(chunk):
    torch.manual_seed(0)
    part = build("head", "multi_token", d_model=D, vocab_size=V, embedding=None, n_ahead=2, output="linear")
    nn.init.normal_(part.output.logits.weight)
    info = SequenceInfo()
    documents = torch.tensor([[0] * 3 + [1] * 4] * B)
    x = hidden()
    for given in (None, documents):
        terms = build("loss", "multi_token", vocab_size=V, factor=0.5, chunk=chunk)(
            x, partial(part, info=info), Batch(IDS[:, :-1], IDS[:, 1:], documents=given)
        )
        expected = F.cross_entropy(part(x, info).flatten(0, 1), IDS[:, 1:].flatten())
        for k in (1, 2):
            logits, parts = part(x, info, ahead=k), []
            for b in range(B):
                for t in range(T - k):
                    if given is None or documents[b, t] == documents[b, t + k]:
                        parts.append(F.cross_entropy(logits[b, t], IDS[b, t + 1 + k]))
            assert terms.aim[f"ahead_{k}"] == 0.5
            expected = expected + 0.5 * sum(parts) / (B * T)
        same_gradients(total(terms), expected, x, part.ahead[1].dense.weight)


def test_multi_token_needs_its_head(head):
    with pytest.raises(ValueError, match="head/multi_token"):
        build("loss", "multi_token", vocab_size=V)(hidden(), head, Batch(IDS[:, :-1], IDS[:, 1:]))


# -- distillation -----------------------------------------------------------------------------------------------------------


def model(width: int, seed: int) -> nn.Module:
    made = build(
        "model", "decoder", vocab_size=V, d_model=width, n_layers=1, context_length=T, attention={"name": "mha", "n_heads": 2}
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.5)
    return made.eval()


@pytest.mark.parametrize("chunk", ["all", 5])
@pytest.mark.parametrize("divergence", ["forward", "reverse"])
def test_distillation_by_formula(divergence, chunk):
    student, teacher = model(8, 1), model(12, 2)
    loss = build(
        "loss", "distillation", vocab_size=V, teacher="run", temperature=2.0, mix=0.3, divergence=divergence, chunk=chunk
    )
    loss.teacher = teacher
    targets = IDS[:, 1:].clone()
    targets[0, :3] = -100
    batch = Batch(IDS[:, :-1], targets)
    terms = student(batch, loss)
    logits, taught = student(batch), teacher(batch).detach()
    p, q = (taught / 2).softmax(-1), (logits / 2).softmax(-1)
    rows = (p * (p / q).log()).sum(-1) if divergence == "forward" else (q * (q / p).log()).sum(-1)
    kept = targets != -100
    expected = 0.7 * F.cross_entropy(logits.flatten(0, 1), targets.flatten()) + 0.3 * 4 * rows[kept].mean()
    same_gradients(total(terms), expected, *student.parameters())
    assert all(w == kept.sum() for _, w in terms.losses.values())
    same = build("loss", "distillation", vocab_size=V, teacher="run", divergence=divergence)
    same.teacher = student
    assert mean(student(batch, same), "distillation").abs() < 1e-6
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize("chunk", ["all", 5])
@pytest.mark.parametrize("divergence", ["forward", "reverse"])
@pytest.mark.parametrize("mean_of", ["probabilities", "logits"])
def test_several_teachers_by_formula(mean_of, divergence, chunk):
    student, teachers = model(8, 1), [model(12, 2), model(8, 3)]
    given = {"temperature": 2.0, "mix": 0.3, "divergence": divergence, "chunk": chunk, "mean": mean_of}
    loss = build("loss", "ensemble_distillation", vocab_size=V, teachers=["a", "b"], weights=[1.0, 3.0], **given)
    loss.attach(nn.ModuleList(teachers))
    targets = IDS[:, 1:].clone()
    targets[0, :3] = -100
    batch = Batch(IDS[:, :-1], targets)
    terms = student(batch, loss)
    logits, (one, two) = student(batch), (teacher(batch).detach() / 2 for teacher in teachers)
    p = 0.25 * one.softmax(-1) + 0.75 * two.softmax(-1) if mean_of == "probabilities" else (0.25 * one + 0.75 * two).softmax(-1)
    q = (logits / 2).softmax(-1)
    rows = (p * (p / q).log()).sum(-1) if divergence == "forward" else (q * (q / p).log()).sum(-1)
    kept = targets != -100
    expected = 0.7 * F.cross_entropy(logits.flatten(0, 1), targets.flatten()) + 0.3 * 4 * rows[kept].mean()
    same_gradients(total(terms), expected, *student.parameters())
    assert all(p.grad is None for teacher in teachers for p in teacher.parameters())


@pytest.mark.parametrize("mean_of", ["probabilities", "logits"])
def test_several_teachers_who_are_one_teach_as_one(mean_of):
    student, teacher = model(8, 1), model(12, 2)
    batch = Batch(IDS[:, :-1], IDS[:, 1:])
    alone = build("loss", "distillation", vocab_size=V, teacher="a")
    alone.attach(teacher)
    loss = build("loss", "ensemble_distillation", vocab_size=V, teachers=["a", "a", "a"], mean=mean_of)
    loss.attach(nn.ModuleList([teacher] * 3))
    torch.testing.assert_close(total(student(batch, loss)), total(student(batch, alone)))


def test_several_teachers_and_their_weights():
    with pytest.raises(ValueError, match="teachers is empty"):
        build("loss", "ensemble_distillation", vocab_size=V, teachers=[])
    for weights in ([1.0], [1.0, 0.0], [1.0, -1.0]):
        with pytest.raises(ValueError, match="must be 2 positive numbers"):
            build("loss", "ensemble_distillation", vocab_size=V, teachers=["a", "b"], weights=weights)
    loss = build("loss", "ensemble_distillation", vocab_size=V, teachers=["a", "b"])
    with pytest.raises(ValueError, match="1 models for 2 teachers"):
        loss.attach(nn.ModuleList([model(8, 1)]))
    with pytest.raises(ValueError, match="has no teachers yet"):
        model(8, 1)(Batch(IDS[:, :-1], IDS[:, 1:]), loss)


def test_distillation_without_gradients_asks_no_teacher():
    student = model(8, 1)
    loss = build("loss", "distillation", vocab_size=V, teacher="run")
    batch = Batch(IDS[:, :-1], IDS[:, 1:])
    with torch.no_grad():
        terms = student(batch, loss)
    torch.testing.assert_close(total(terms), F.cross_entropy(student(batch).flatten(0, 1), batch.targets.flatten()))
    with pytest.raises(ValueError, match=r"set loss\.teacher"):
        student(batch, loss)


def test_a_teacher_with_other_logits_is_refused():
    loss = build("loss", "distillation", vocab_size=V, teacher="run")
    loss.teacher = build("model", "decoder", vocab_size=V + 1, d_model=8, n_layers=1, attention={"name": "mha", "n_heads": 2})
    with pytest.raises(ValueError, match=f"{V + 1} logits, the student {V}"):
        model(8, 1)(Batch(IDS[:, :-1], IDS[:, 1:]), loss)


def test_bfloat16_autocast_stays_near_fp32():
    student, teacher = model(8, 1), model(12, 2)
    loss = build("loss", "distillation", vocab_size=V, teacher="run")
    loss.teacher = teacher
    batch = Batch(IDS[:, :-1], IDS[:, 1:])
    exact = total(student(batch, loss))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = total(student(batch, loss))
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)
