"""One optimizer step is one mean over its targets, however they are cut; statistics are seen once per step."""

# ruff: noqa: ARG005  fixtures and stand-ins
from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from components.core.errors import UserError
from components.core.signature import Positive
from components.core.sockets import Batch
from components.corpus.batches import totals
from components.corpus.steps import EvalBatches, TrainSteps
from components.training.building import quiet_lightning
from components.training.clipping import clip_gradients
from components.training.data_module import PackedDataModule
from components.training.reductions import means
from components.training.task.language_modeling import LanguageModeling

VOCABULARY, T = 11, 6


class Counting(nn.Module):
    """A feed-forward part with an auxiliary loss and a figure that it counts between steps."""

    axes = {"up": ("d_model", "d_ff"), "out": ("d_ff", "d_model")}

    def __init__(self, d_model: int, *, d_ff: Positive = 8) -> None:
        super().__init__()
        self.up, self.out = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)
        self.register_buffer("seen", torch.zeros(2))

    def reset_parameters(self) -> None:
        self.seen.zero_()

    def forward(self, x, info):
        h = self.up(x).relu()
        info.out["loss.aux"] = (h.float().square().sum() * 0.1, torch.tensor(float(x.shape[0] * x.shape[1])))
        info.out[f"stat.{self.part_path}.seen"] = h.detach().float().sum()
        return self.out(h)

    def after_step(self, stats):
        self.seen += torch.stack((stats[f"{self.part_path}.seen"], torch.tensor(1.0)))


class UnevenBlocks:
    """Rows of which some ask for many targets, some for few, with weights."""

    n_blocks = 24

    def batch(self, epoch, indices):
        rows = [torch.Generator().manual_seed(1000 * epoch + i) for i in indices]
        ids = torch.stack([torch.randint(0, VOCABULARY, (T,), generator=g) for g in rows])
        targets = torch.stack([torch.randint(0, VOCABULARY, (T,), generator=g) for g in rows])
        for row, i in zip(targets, indices):
            row[: i % T] = -100
        weights = torch.stack([torch.rand(T, generator=g) for g in rows])
        return Batch(ids, targets, weights)


class Tokenizer:
    vocab_size = VOCABULARY
    specials = {"endoftext": 0}


def module(**options) -> LanguageModeling:
    config = {
        "seed": 1,
        "model": {
            "name": "decoder",
            "d_model": 8,
            "n_layers": 2,
            "context_length": T,
            "attention": {"name": "gqa", "n_heads": 2},
        },
        "loss": {"name": "next_token", "z_loss": 0.01},
        "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.0, "weight_decay": 0.0},
        "schedule": {"name": "constant"},
    }
    config["model"]["ffn"] = partial(Counting)
    made = LanguageModeling(config, Tokenizer(), **options)
    made.total_steps = 5
    return made


def trained(accumulate: int, **options):
    quiet_lightning()
    made = module(**options)
    data = PackedDataModule(UnevenBlocks(), batch_size=8)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=5,
        accumulate_grad_batches=accumulate,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        gradient_clip_val=1.0,
    )
    trainer.fit(made, data)
    return made


@pytest.fixture(scope="module")
def in_one():
    return trained(1)


@pytest.mark.parametrize("accumulate", [2, 4, 8])
def test_micro_batches_of_unequal_weight_are_one_batch(in_one, accumulate):
    cut = trained(accumulate)
    for (name, a), b in zip(in_one.model.named_parameters(), cut.model.parameters()):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-6, msg=name)
    assert set(cut.train_sums) == {"loss", "z_loss", "aux"}
    assert means(cut.train_sums) == pytest.approx(means(in_one.train_sums), rel=1e-5)


def test_statistics_are_summed_over_micro_batches_and_seen_once_per_step(in_one):
    for cut in (in_one, trained(4), trained(4, activation_checkpointing=True)):
        parts = [m for m in cut.model.modules() if isinstance(m, Counting)]
        others = [m for m in in_one.model.modules() if isinstance(m, Counting)]
        assert [float(p.seen[1]) for p in parts] == [5.0, 5.0]
        for part, other in zip(parts, others):
            torch.testing.assert_close(part.seen, other.seen, rtol=1e-4, atol=1e-4)


def test_the_step_is_the_mean_over_all_targets_and_tokens(in_one):
    """By hand: one step of SGD on the sum over all rows, without Lightning and without the task's weighting."""
    by_hand = module()
    by_hand.place(by_hand.new_model(), "cpu")
    blocks = UnevenBlocks()
    optimizer = torch.optim.SGD(by_hand.model.parameters(), lr=0.5)
    for step in range(5):
        rows = [divmod(step * 8 + i, blocks.n_blocks) for i in range(8)]
        batch = blocks.batch(rows[0][0], [i for _, i in rows])
        terms = by_hand.model(batch, by_hand.loss)
        mean = sum(terms.aim.get(n, 1.0) * s / w for n, (s, w) in terms.losses.items())
        optimizer.zero_grad()
        mean.backward()
        nn.utils.clip_grad_norm_(by_hand.model.parameters(), 1.0)
        optimizer.step()
    for (name, a), b in zip(by_hand.model.named_parameters(), in_one.model.parameters()):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-6, msg=name)


def unpacked(item):
    return item.batch, item.totals


def test_ranks_and_micro_batches_together_read_each_sample_once():
    blocks = UnevenBlocks()
    whole = TrainSteps(blocks, 8, 1, 0, 1, True)
    for ranks, accumulate in ((2, 2), (4, 1), (1, 4)):
        parts = [TrainSteps(blocks, 8, accumulate, rank, ranks, True) for rank in range(ranks)]
        for step in (0, 2, 4):  # step 2 ends the first epoch
            expected, total = unpacked(whole[step])
            got = [unpacked(parts[r][step * accumulate + m]) for m in range(accumulate) for r in range(ranks)]
            assert torch.equal(torch.cat([b.ids for b, _ in got]), expected.ids)
            each = [parts[r][step * accumulate].totals for r in range(ranks)]  # ranks add up what their rows ask for
            assert torch.allclose(sum(each), total)
            assert torch.allclose(sum(totals(b) for b, _ in got), total)
            assert all(parts[r][step * accumulate + m].first == (m == 0) for m in range(accumulate) for r in range(ranks))


class Counted(UnevenBlocks):
    """Knows how many rows were read."""

    read = 0
    n_blocks = 10**6

    def batch(self, epoch, indices):
        self.read += len(indices)
        return super().batch(epoch, indices)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_rank_reads_its_own_rows_alone(accumulate):
    for ranks in (1, 8, 512, 4096):
        blocks = Counted()
        steps = TrainSteps(blocks, 2 * ranks * accumulate, accumulate, ranks - 1, ranks, True)
        for i in range(2 * accumulate):
            assert steps[i].batch.ids.shape[0] == 2
        assert blocks.read == 2 * 2 * accumulate


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(UserError, match="multiple of 3"):
        TrainSteps(UnevenBlocks(), 8, 3, 0, 1, True)


def test_a_step_may_reach_into_the_next_epoch():
    blocks = UnevenBlocks()
    wide = TrainSteps(blocks, 40, 1, 0, 1, True)
    first = torch.cat([blocks.batch(0, range(24)).ids, blocks.batch(1, range(16)).ids])
    assert torch.equal(wide[0].batch.ids, first)


@pytest.mark.parametrize(("ranks", "rows"), [(1, 5), (2, 5), (4, 7)])
def test_evaluation_reads_each_block_once_in_equally_many_batches(ranks, rows):
    parts = [EvalBatches(UnevenBlocks(), rows, rank, ranks, True) for rank in range(ranks)]
    assert len({len(p) for p in parts}) == 1
    asked = sum(int((p[i].batch.targets != -100).sum()) for p in parts for i in range(len(p)))
    assert asked == int((UnevenBlocks().batch(0, range(24)).targets != -100).sum())


def test_a_limited_evaluation_reads_the_same_on_any_number_of_ranks():
    def read(ranks, rows):
        parts = [EvalBatches(UnevenBlocks(), rows, rank, ranks, True, most=7) for rank in range(ranks)]
        return sum(int((p[i].batch.targets != -100).sum()) for p in parts for i in range(len(p)))

    assert len({read(1, 4), read(1, 7), read(2, 2), read(4, 1)}) == 1


def test_documents_together():
    batch = replace(UnevenBlocks().batch(0, [0]), documents=torch.ones(1, T), positions=torch.ones(1, T))
    blocks = type("Blocks", (), {"n_blocks": 1, "batch": lambda self, epoch, indices: batch})()
    assert TrainSteps(blocks, 1, 1, 0, 1, False)[0].batch.documents is None
    assert TrainSteps(blocks, 1, 1, 0, 1, True)[0].batch.documents is not None


def test_clipping_equals_torch():
    parameters = [nn.Parameter(torch.randn(n, 3)) for n in (2, 5)]
    for p in parameters:
        p.grad = torch.randn_like(p)
    mine = [p.grad.clone() for p in parameters]
    expected = nn.utils.clip_grad_norm_(parameters, 0.5)
    wanted = [p.grad.clone() for p in parameters]
    for p, g in zip(parameters, mine):
        p.grad = g
    torch.testing.assert_close(clip_gradients(parameters, 0.5), expected)
    for p, w in zip(parameters, wanted):
        torch.testing.assert_close(p.grad, w)
    assert clip_gradients([nn.Parameter(torch.ones(1))], 1.0) is None
