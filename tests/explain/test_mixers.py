"""Every registered attention shows what it reads: weights come out, see no future, and times values are what the part really read."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle

import pytest
import torch

from components.check.host import Host, ids
from components.check.subject import subject_of
from components.core import registry
from components.explain import mixers
from components.explain.recorder import Recorder
from components.functional import watch
from components.functional.attention import attend

PARTS = [e.label for e in registry.entries("attention").values() if e.name != "none"]  # a block leaves it out
# what is read goes straight into the projection `out`, without a norm or a gate between
STRAIGHT = ("chunked", "disentangled", "dsa", "gqa", "mha", "mla", "mqa", "sliding_window", "talking_heads")
EXACT = {
    mixers.SOFTMAX: (
        "chunked",
        "differential",
        "disentangled",
        "dsa",
        "forgetting",
        "gqa",
        "mha",
        "mla",
        "mqa",
        "sliding_window",
        "stochastic",  # its main one
        "talking_heads",
    ),
    mixers.EQUIVALENT: (
        "delta_net",
        "gated_delta_net",
        "gla",
        "hgrn2",
        "kda",
        "lightning",
        "linear",
        "mamba2",
        "mlstm",
        "retention",
        "rwkv7",
    ),
    mixers.SHARE: ("min_gru", "min_lstm", "rg_lru"),
    mixers.GRADIENT: ("both_ways", "gru", "lstm", "mamba", "rnn", "short_convolution", "slstm"),
}
BOTH = {"parallel_hybrid": (mixers.SOFTMAX, mixers.EQUIVALENT)}  # two mixers side by side: a reading of each


def recorded(label, options=(), **batch):
    host = Host.of(subject_of(label, options))
    model = host.model(0.3)
    recorder = Recorder(model)
    with recorder.listening():
        host.run(model, host.batch(ids(1), **batch))
    assert watch.sink is None
    return host, recorder


def test_all_attention_parts_are_here():
    assert len(PARTS) >= 20
    assert sorted(label.partition("/")[2] for label in PARTS) == sorted(
        [*BOTH, *(n for names in EXACT.values() for n in names)]
    )


@pytest.mark.parametrize("label", PARTS)
def test_weights_of_every_attention(label):
    host, recorder = recorded(label)
    name = label.partition("/")[2]
    calls = recorder.of_kind("attention")
    crossed = [c for c in calls if getattr(c.module, "cross", False)]
    assert len(calls) == (6 if host.wiring == "cross" else 2)  # in a cross attention's host, both sides have their own as well
    # of two mixers side by side each kernel is a reading of its own
    calls = [replace(call, kernels=[k]) for call in calls for k in call.kernels] if name in BOTH else calls
    hows = BOTH.get(name) or [next(how for how, names in EXACT.items() if name in names)]
    for call, how in zip(crossed or calls, cycle(hows)):
        for reading in mixers.readings(call):
            assert reading.how == how
            heads, tq, tk = reading.weights.shape
            assert (tq, tk) == (12, 9 if crossed else 12)
            assert reading.weights.isfinite().all()
            assert reading.weights.abs().sum() > 0
            if "causal" not in host.subject.lacks and not crossed:
                assert reading.weights.triu(1).abs().max() == 0, "a weight on the future"
            if reading.how != mixers.EQUIVALENT and reading.mixing is None and name != "talking_heads":
                torch.testing.assert_close(reading.weights.sum(-1), torch.ones(heads, tq, dtype=torch.float64))
            if reading.context is not None:
                torch.testing.assert_close(reading.context, really_read(call), atol=1e-9, rtol=1e-6)


def really_read(call):
    """By the kernel that the part itself called, with what it gave to it."""
    words = [k.word for k in call.kernels]
    found = [k for k in call.kernels if k.word in mixers.READ][
        -1
    ].found  # before it, a linear attention may have read its divisor
    if words[0] == "softmax":
        read = attend(**found)[0]
        if "mixed" in words:
            first, second = read.chunk(2)
            read = first - call.module.weight() * second
        return read
    if words[0] == "weights":
        return (found["weights"] @ found["v"])[0]
    read = found["rule"](*found["inputs"], **found["options"])[0]
    read = read.transpose(1, 2)[0] if found["time"] == 1 else read[0]
    if "divided" not in words:
        return read
    return read[..., : call.module.head_dim] / call.kernels[-1].found["total"][0]


@pytest.mark.parametrize("name", STRAIGHT)
def test_what_was_read_is_what_the_projection_got(name):
    _, recorder = recorded(f"attention/{name}")
    for call in recorder.of_kind("attention"):
        (reading,) = mixers.readings(call)
        (out,) = [c for c in recorder.linears if c.path == f"{call.path}.out"]
        torch.testing.assert_close(reading.context.transpose(0, 1).flatten(1), out.x[0], atol=1e-9, rtol=1e-6)


def test_every_option_of_scores_is_in_the_formula():
    options = {
        "soft_cap": 3.0,
        "sinks": True,
        "scale": 0.4,
        "model.position": "alibi",
        "mask": {"name": "sliding_window", "window": 5},
    }
    _, recorder = recorded("attention/gqa", {**options, "n_kv_heads": 2}, documents=torch.tensor([[0] * 5 + [1] * 7]))
    for call in [c for c in recorder.of_kind("attention") if not c.module.crosses]:
        (r,) = mixers.readings(call)
        if call.path.startswith("decoder"):
            assert not r.weights[:, 5:, :5].any(), "another document"
    for call in [c for c in recorder.of_kind("attention") if c.module.soft_cap]:
        (r,) = mixers.readings(call)
        torch.testing.assert_close(r.context, attend(**call.kernels[0].found)[0])
        assert (r.weights.sum(-1) < 1).all(), "the sink took some"


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_gradients_of_a_recurrence_fall_with_distance(name):
    _, recorder = recorded(f"attention/{name}")
    (reading,) = mixers.readings(recorder.of_kind("attention")[0])
    last = reading.weights[0, -1]
    assert last[-1] > last[0] >= 0
    assert last[-2] > last[0]


def test_gradients_are_those_of_the_jacobian():
    _, recorder = recorded("attention/gru")
    call = recorder.of_kind("attention")[0]
    (reading,) = mixers.readings(call)
    jacobian = torch.autograd.functional.jacobian(lambda x: call.module(x, call.info), call.x)[0, :, :, 0]  # (T, D, T, D)
    norms = jacobian.square().sum((1, 3)).sqrt()
    exact = norms / norms.sum(-1, keepdim=True)
    assert (reading.weights[0] - exact).abs().max() < 0.15  # by 16 random directions of 32
    assert (reading.weights[0].argmax(-1) == exact.argmax(-1)).float().mean() > 0.7


def test_both_directions_of_both_ways():
    options = {"forward_mixer": "retention", "backward_mixer": "retention"}
    _, recorder = recorded("attention/both_ways", options)
    left, right = mixers.readings(recorder.of_kind("attention")[0])
    assert left.weights.triu(1).abs().max() == 0
    assert right.weights.tril(-1).abs().max() == 0
    assert right.weights.triu(1).abs().max() > 0


@pytest.mark.parametrize(("position", "sums"), [("none", True), ("rope", False)])
def test_linear_attention_is_divided_by_its_sum_of_weights(position, sums):
    _, recorder = recorded("attention/linear", {"model.position": position})
    call = recorder.of_kind("attention")[0]
    assert [k.word for k in call.kernels] == ["linear", "divided"] if sums else ["linear", "linear", "divided"]
    (reading,) = mixers.readings(call)
    assert reading.values.shape[-1] == call.module.head_dim, "the column of ones is no value"
    total = reading.weights.sum(-1)
    assert ((total - 1).abs().max() < 1e-4) == sums  # rotated features are divided by the sum of those that are not


@pytest.mark.parametrize("name", ["linear", "retention", "lightning", "mamba2", "gated_delta_net", "gla"])
def test_the_product_that_a_cell_is_spelled_by(name):
    """Query times key, times what is kept, over the divisor: the weight. Corrected and channel-wise states have no such product, and give none."""
    _, recorder = recorded(f"attention/{name}")
    (reading,) = mixers.readings(recorder.of_kind("attention")[0])
    if name in ("gated_delta_net", "gla"):
        assert reading.q is None
        return
    heads = reading.weights.shape[0]
    q, k = (mixers.repeated(y, heads) for y in (reading.q, reading.k))
    product = torch.einsum("htc,hsc->hts", q, k)
    if reading.decay is not None:
        product = product * (reading.decay[:, :, None] - reading.decay[:, None]).exp()
    if reading.divisor is not None:
        product = product / reading.divisor[..., None]
    torch.testing.assert_close(product.tril(), reading.weights, atol=1e-9, rtol=1e-6)
    assert (reading.decay is not None) == (name != "linear")


def test_a_key_that_was_not_chosen_is_not_seen():
    _, recorder = recorded("attention/dsa", {"top_k": 2})
    (reading,) = mixers.readings(recorder.of_kind("attention")[0])
    assert reading.seen.sum(-1).max() == 2
    assert reading.bias is None
    assert (reading.weights[~reading.seen.expand_as(reading.weights)] == 0).all()
