"""What a layout holds, sends and costs: against the tensors of torch's own sharding, and against figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from components.compose import compose
from components.core import registry
from components.core.errors import UserError
from components.core.makers import make
from components.core.meta import emptied
from components.training.estimate.accelerators import ACCELERATORS, accelerator, by_device_name
from components.training.estimate.between import lengthened
from components.training.estimate.bill import Terms, bill
from components.training.estimate.estimating import Subject
from components.training.estimate.layouts import KNOWN, Layout, layout_of, piece
from components.training.estimate.live import Live
from components.training.estimate.searching import candidates, search
from components.training.estimate.state import meshed, optimizer_bytes, pieces, state_of
from components.training.estimate.step import Step
from components.training.estimate.traffic import Volume, ring, traffic
from components.training.tuning import tuned

SMALL = ["recipe=llama_tiny", "model.d_model=96", "model.n_layers=3", "model.context_length=64", "optimizer=adamw"]


def subject(*overrides: str, vocab_size: int = 300) -> Subject:
    return Subject(compose(None, [*SMALL, *overrides]).config, vocab_size)


@pytest.fixture(scope="module")
def small() -> Subject:
    return subject()


@pytest.mark.parametrize(("length", "parts"), [(10, 4), (3, 4), (8, 4), (1, 7), (0, 2)])
def test_a_piece_is_that_of_chunk(length, parts):
    chunks = [c.shape[0] for c in torch.empty(length).chunk(parts)] if length else []
    chunks += [0] * (parts - len(chunks))
    assert [piece(length, parts, i) for i in range(parts)] == chunks


@pytest.mark.parametrize("rank", [0, 2, 3, 4])
def test_pieces_are_those_of_fully_shard(rank):
    """Over five ranks nothing of these shapes divides; torch shards them on a group that is not there."""
    layout = Layout("fsdp2", 5, shards=5)
    model = nn.Sequential(nn.Linear(7, 13), nn.Linear(13, 3, bias=False), nn.LayerNorm(11)).to("meta")
    told = [layout.local(tuple(p.shape), None, rank) for p in model.parameters()]
    with meshed(layout, rank) as mesh:
        fully_shard(model, mesh=mesh)
        held = [tuple(p.to_local().shape) for p in model.parameters() if isinstance(p, DTensor)]
    assert told == held


@pytest.mark.parametrize("name", sorted(registry.names("optimizer")))
def test_the_state_of_every_optimizer(name):
    """What it keeps over tensors on a CPU after two real steps is what the plan says; what it cannot say it refuses."""
    model = subject(f"optimizer={name}", "model.d_model=32", "model.n_layers=2")
    layout = Layout("single")
    if name == "asgd":
        with pytest.raises(UserError, match="shapes alone"):
            state_of(model.weights, 0, model.config["optimizer"], layout, {})
        return
    told = state_of(model.weights, 0, model.config["optimizer"], layout, {})
    real = emptied(model.new_model())
    weights = tuned(real, model.config)
    optimizer = make(model.config["optimizer"], "optimizer", weights=weights)
    with torch.no_grad():
        for w in weights:
            w.parameter.normal_()
    for _ in range(2):
        for w in weights:
            w.parameter.grad = torch.randn_like(w.parameter) if w.parameter.requires_grad else None
        optimizer.step()
    held = sum(
        v.numel() * v.element_size() for s in optimizer.state.values() for v in s.values() if isinstance(v, torch.Tensor)
    )
    assert told.optimizer == held > 0
    assert told.parameters == sum(w.parameter.numel() * 4 for w in weights)


def test_precision_says_in_what_weights_and_averages_are_held(small):
    held = {p: small.state(Layout("single", precision=p)) for p in ("32-true", "bf16-mixed", "bf16-true", "64-true")}
    full = held["32-true"]
    assert held["bf16-mixed"] == full
    assert held["bf16-true"].parameters * 2 == full.parameters
    assert held["64-true"].gradients == full.gradients * 2


def test_what_is_frozen_has_no_gradient_and_no_state():
    adapted = subject("adapter=lora", "adapter.rank=4")
    state = adapted.state(Layout("single"))
    assert 0 < adapted.trained < adapted.parameters / 2
    assert state.gradients == adapted.trained * 4
    assert state.optimizer == pytest.approx(adapted.trained * 8, rel=0.01)


def test_an_average_of_the_weights_is_another_copy(small):
    averaged = subject("optimizer=ema").state(Layout("fsdp2", 4, shards=4))
    plain = small.state(Layout("fsdp2", 4, shards=4))
    assert averaged.optimizer == plain.optimizer + plain.parameters


@pytest.mark.parametrize("name", ["soap", "{name: ema, inner: soap}"])
def test_states_that_owners_keep_are_shared_out(name):
    """Over all ranks together as much as in one process."""
    model = subject(f"optimizer={name}", "model.d_model=32")
    ranks = [model.state(Layout("fsdp2", 4, shards=4), rank).optimizer for rank in range(4)]
    assert sum(ranks) == model.state(Layout("single")).optimizer
    assert max(ranks) < 0.3 * sum(ranks)


def test_a_guard_around_the_optimizer_is_looked_through(small):
    assert subject("optimizer=skip_step").state(Layout("single")).optimizer == small.state(Layout("single")).optimizer


def test_no_group_of_processes_is_left_behind(small):
    found = pieces(small.weights, Layout("fsdp2", 3, shards=3), {}, 1)
    optimizer_bytes(found, small.config["optimizer"], Layout("fsdp2", 3, shards=3), 1)
    assert not torch.distributed.is_initialized()


def test_live_counts_each_storage_once_until_it_goes():
    with Live() as live:
        a = torch.empty(1000, dtype=torch.float32)
        b = a.view(10, 100)
        assert live.now == 4000
        del a
        assert live.now == 4000
        c = b + 1
        del b
        assert (live.now, live.peak) == (4000, 8000)
        del c
        assert live.now == 0


def test_activations_grow_with_rows_and_shrink_with_checkpointing(small):
    layout = Layout("single")
    one, two, five = (small.passes(layout, n) for n in (1, 2, 5))
    assert len(one.layers) == 3
    assert one.total() < two.total() < five.total()
    assert five.total() == pytest.approx(5 * one.total(), rel=0.05)
    assert one.total(checkpointing=True) < one.total() / 2


def test_a_plan_builds_its_model_twice(monkeypatch):
    """Once for its weights and once for its shapes, however many rows and lengths are asked for: at 70 B each takes half a second."""
    built = []
    new_model = Subject.new_model
    monkeypatch.setattr(Subject, "new_model", lambda self: built.append(1) or new_model(self))
    asked, layout = subject("model.context_length=8192"), Layout("fsdp2", 2, shards=2)
    assert asked.largest(layout, accelerator("h100")) > 2
    last = asked.peak(layout, Step(3, 1, False))
    assert len(built) == 2
    assert subject("model.context_length=8192").peak(layout, Step(3, 1, False)) == last  # what ran before leaves nothing behind


def test_equal_layers_cost_what_unequal_ones_do():
    """A layer that differs is measured by itself."""
    mixed = subject("model.layers.last.ffn.d_ff=512")
    layers = mixed.passes(Layout("single"), 1).layers
    assert layers[0] == layers[1] != layers[2]
    assert layers[2].weights > layers[0].weights


def test_traffic_by_hand():
    assert ring(100, 4) == 75
    volume = Volume(layers=1000, trained=1000, root=200, root_trained=200, accumulate=3)
    (ddp,) = traffic(Layout("ddp", 4, replicas=4), volume)
    assert ddp.bytes == 2 * 75 * 1200 * 4 // 100  # once a step
    gather, scatter = traffic(Layout("fsdp2", 4, shards=4, precision="bf16-mixed"), volume)
    assert gather.bytes == 3 * ring((2 * 1000 + 200) * 2, 4)
    assert scatter.bytes == 3 * ring(1200 * 4, 4)
    kinds = [c.what for c in traffic(Layout("hsdp", 8, shards=4, replicas=2), volume)]
    assert kinds == ["all-gather of weights", "reduce-scatter of gradients", "all-reduce of gradients"]
    assert traffic(Layout("single"), volume) == []
    held = Volume(1000, 1000, 0, 0, stream=10, summed=2, entered=2, again=2)
    (plain,), (again,) = (traffic(Layout("tp", 2, tensor=2), held, checkpointing=c) for c in (False, True))
    assert (plain.bytes, again.bytes) == (4 * 2 * 20, 6 * 2 * 20)


def test_a_device_with_a_stretch_of_each_row_has_its_activations_and_all_keys():
    model = subject("model/attention=gqa", "model.attention.n_heads=4", "model.attention.n_kv_heads=2")
    layout = Layout("cp", 4, context=4)
    one, cut = (model.passes(x, 2) for x in (Layout("single"), layout))
    assert {p.gathered for p in one.layers} == {0}
    assert {p.gathered for p in cut.layers} == {
        2 * 2 * 64 * 48 * 4
    }  # keys and values of two rows, 64 positions, two heads of 24
    assert cut.layers[0].leaving == one.layers[0].leaving // 4
    assert one.layers[0].kept / 4 < cut.layers[0].kept < one.layers[0].kept
    sent = {c.what: c.bytes for c in model.estimate(layout, Step(2, 3)).collectives}
    assert sent == {
        "gathered keys and values": 3 * 3 * ring(3 * 2 * 2 * 64 * 48 * 4, 4),
        "all-reduce over stretches": 3 * 2 * ring(model.trained * 4, 4),
    }
    with pytest.raises(UserError, match="a mixture balances its load over whole rows"):
        subject("model/ffn=moe").pieces(layout)


def test_options_of_a_strategy_are_planned():
    deals = {"name": "fsdp2_tp", "tensor_size": 2, "expert_parallel": True}
    layout = layout_of({"strategy": deals}, 4)
    assert layout == Layout("fsdp2_tp", 4, shards=2, tensor=2, expert_parallel=True)
    assert layout.named() == "trainer.strategy={name: fsdp2_tp, tensor_size: 2, expert_parallel: true}"
    dealt = subject("model/ffn=moe", "model.ffn.n_experts=4", "model.ffn.d_ff=31", "model.attention.n_heads=4")
    assert dealt.state(layout).parameters < dealt.state(Layout("fsdp2", 2, shards=2)).parameters
    with pytest.raises(UserError, match="d_ff=31 does not divide"):
        dealt.pieces(Layout("fsdp2_tp", 4, shards=2, tensor=2))
    with pytest.raises(UserError, match="no part of this model has experts"):
        subject().pieces(Layout("tp", 2, tensor=2, expert_parallel=True))
    model, whole = subject("model.attention.n_heads=4"), Layout("tp", 2, tensor=2)
    parted = layout_of({"strategy": {"name": "tp", "sequence_parallel": True}}, 2)
    assert model.peak(parted, Step(8)).total < model.peak(whole, Step(8)).total
    assert layout_of({"strategy": {"name": "cp", "context_size": 2}}, 8) == Layout("cp", 8, shards=4, context=2)
    assert layout_of({"strategy": "cp"}, 8) == Layout("cp", 8, context=8)
    with pytest.raises(UserError, match=r"context_size: 8 devices are no whole number of groups of 3"):
        layout_of({"strategy": {"name": "cp", "context_size": 3}}, 8)


def test_tokens_that_are_sent_to_experts_are_planned():
    """By hand, for one layer of two choices among four devices: less than where each device reads all positions."""
    model = subject("model/ffn=moe", "model.n_layers=1", "model/attention=mha", "model.attention.n_heads=4", "model.d_model=64")
    options = {"tensor": 4, "expert_parallel": True}
    reads, sends = (Layout("tp", 4, **options, sequence_parallel=parted) for parted in (False, True))
    whole, sent = ({c.what: c.bytes for c in model.estimate(of, Step(2, 3)).collectives} for of in (reads, sends))
    tokens, stream = 2 * model.context, 2 * model.context * 64 * 4
    assert sent["all-to-all of tokens"] == 3 * 4 * ring(2 * stream / 4, 4)
    assert sent["all-gather of choices"] == 3 * ring(tokens * (2 * (2 + 2 * 8) * 4 + 2 * 2 * 8), 4)
    spared = whole["all-reduce of activations"] - sent["all-reduce of activations"]
    assert spared == 3 * 2 * 2 * ring(stream, 4)
    assert sent["all-to-all of tokens"] + sent["all-gather of choices"] < spared
    again = {c.what: c.bytes for c in model.estimate(sends, Step(2, 3, checkpointing=True)).collectives}
    assert again["all-to-all of tokens"] == 3 * 6 * ring(2 * stream / 4, 4)
    assert "all-to-all of tokens" not in {
        c.what for c in model.estimate(Layout("tp", 2, **{**options, "tensor": 2}, sequence_parallel=True), Step(2)).collectives
    }


def test_days_and_cost_by_hand(small):
    device = accelerator("h100")
    estimate = small.estimate(Layout("ddp", 4, replicas=4, precision="bf16-mixed"), Step(2))
    b = bill(estimate, Terms(device, utilisation=0.5, tokens=1e9, price=2.0))
    seconds = 1e9 * small.flops_per_token / (4 * 989e12 * 0.5)
    assert b.days == pytest.approx(seconds / 86400)
    assert b.cost == pytest.approx(seconds / 3600 * 4 * 2.0)


def test_no_figure_is_made_up(small):
    estimate = small.estimate(Layout("single", precision="64-true"), Step(1))
    with pytest.raises(UserError, match="no figure of h100 in float64"):
        bill(estimate, Terms(accelerator("h100")))


def test_the_largest_batch_is_the_largest(small):
    layout, device = Layout("single"), accelerator("t4")
    most = small.largest(layout, device)
    assert small.peak(layout, Step(most)).total <= device.usable < small.peak(layout, Step(most + 1)).total
    assert small.largest(layout, device, checkpointing=True) > most


def test_every_layout_of_eight_is_tried():
    found = list(candidates(8, "32-true", 4))
    assert all(c.replicas * c.shards * c.tensor * c.context == 8 for c in found)
    assert [(c.strategy, c.shards, c.tensor, c.context) for c in found if c.strategy != "hsdp"] == [
        ("ddp", 1, 1, 1),
        ("fsdp2", 8, 1, 1),
        ("fsdp2_tp", 4, 2, 1),
        ("fsdp2_tp", 2, 4, 1),
        ("cp", 4, 1, 2),
        ("cp", 2, 1, 4),
    ]
    assert {c.strategy for c in candidates(4, "32-true", 8)} == {*KNOWN} - {"single"}, "each strategy that is planned"


def test_what_cannot_fit_by_its_state_alone_runs_no_shapes(monkeypatch):
    """Of 70 B that is half of the candidates, and shapes are most of a search's time."""
    large, ran = subject("model.d_model=960", "model.n_layers=4"), []
    of_lengths = Subject.of_lengths
    monkeypatch.setattr(Subject, "of_lengths", lambda *args: ran.append(args[1]) or of_lengths(*args))
    device = replace(accelerator("t4"), gigabytes=0.0)
    assert [large.largest(layout, device) for layout in candidates(4, "32-true", 8) if layout.tensor == 1] == [0] * 5
    assert not ran
    assert large.largest(Layout("ddp", 4, replicas=4), accelerator("t4")) > 0
    assert len(ran) == 1


def test_a_search_ranks_what_fits_and_keeps_the_rows_of_a_step(small):
    found = search(small, 4, "32-true", Terms(accelerator("t4")), rows=48)
    rates = [rate for _, rate in found.ranked]
    assert rates == sorted(rates, reverse=True)
    assert list(found.undivided) == ["trainer.strategy=tp"]  # two heads of keys among four devices
    assert found.tried == 2 * (len(list(candidates(4, "32-true", 8))) - 1)
    for estimate, _ in found.ranked:
        assert estimate.fits(accelerator("t4"))
        assert estimate.step.rows * estimate.step.accumulate * estimate.layout.readers == 48


def test_what_does_not_divide_is_said(small):
    found = search(small, 4, "32-true", Terms(accelerator("t4")), rows=6)
    assert any("task.batch_size=6 among 4" in why for why in found.undivided.values())


@pytest.mark.parametrize(
    ("trainer", "ranks", "said"),
    [
        (
            {"strategy": {"name": "hsdp", "shard_size": 3}},
            8,
            "trainer.strategy.shard_size: 8 devices are no whole number of groups of 3",
        ),
        ({"strategy": "deepspeed"}, 8, "trainer.strategy: 'deepspeed' is not planned"),
        ({"precision": "transformer-engine"}, 8, "trainer.precision: 'transformer-engine' is not planned"),
    ],
)
def test_layouts_that_are_not_planned(trainer, ranks, said):
    with pytest.raises(UserError) as e:
        layout_of(trainer, ranks, 8)
    assert str(e.value).startswith(said)


def test_accelerators_have_their_source():
    names = [a.name for a in ACCELERATORS]
    assert len(names) == len(set(names))
    assert all(a.source.startswith("https://") for a in ACCELERATORS)
    assert accelerator("H100-PCIe").name == "h100_pcie"
    assert by_device_name("NVIDIA L40S").name == "l40s"
    with pytest.raises(UserError, match="did you mean 'h100'"):
        accelerator("h10")


@pytest.mark.parametrize(
    "attention", ["gqa", "talking_heads"]
)  # a fused kernel, and scores that grow with the square of the length
def test_long_rows_hold_what_shorter_ones_tell(attention):
    long = subject(f"model/attention={attention}", "model.context_length=1024", "model.n_layers=1")
    layout = Layout("single")
    (of,) = long.of_lengths(layout, [1], [128, 256, 512, 1024])
    told, real = lengthened(of[:3], (128, 256, 512), 1024), of[3]
    assert told.total() == pytest.approx(real.total(), rel=0.01)
    assert told.layers[0].backward == pytest.approx(real.layers[0].backward, rel=0.05)
