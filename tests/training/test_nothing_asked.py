"""A step whose rows ask for nothing changes nothing, is counted, and leaves no NaN anywhere; a part of a step that does adds nothing."""

# ruff: noqa: ARG002  hooks and stand-ins
from __future__ import annotations

import copy
import csv
import json
import warnings
from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from components import build
from components.check.training import pairs_in
from components.core import registry
from components.core.errors import UserError
from components.core.sockets import Batch
from components.core.traits import provides
from components.corpus.steps import MicroBatch, TrainSteps
from components.training import stepping
from components.training.building import quiet_lightning
from components.training.data_module import PackedDataModule
from components.training.experiment import Job, fit
from components.training.task.language_modeling import LanguageModeling

VOCABULARY, T = 11, 6


class Rows:
    """48 rows; ``silent(i)`` says which ask for nothing, by labels of -100 or by weights of 0."""

    n_blocks = 48

    def __init__(self, silent, by):
        self.silent, self.by = silent, by

    def batch(self, epoch, indices):
        ids = torch.stack([torch.randint(0, VOCABULARY, (T,), generator=torch.Generator().manual_seed(i)) for i in indices])
        targets, weights = ids.roll(-1, 1), torch.ones(ids.shape)
        for row, i in enumerate(indices):
            if self.silent(i):
                if self.by == "labels":
                    targets[row] = -100
                else:
                    weights[row] = 0.0
        return Batch(ids, targets, weights if self.by == "weights" else None)


class Tokenizer:
    vocab_size = VOCABULARY
    specials = {"endoftext": 0}


def state(trainer):
    held = copy.deepcopy(trainer.optimizers[0].state_dict())
    for group in held["param_groups"]:
        group.pop("lr")  # the schedule goes on
    return held


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


class Watch(Callback):
    """Which steps changed weights or the optimizer's state."""

    def __init__(self):
        self.moved, self.norms = [], []

    def on_train_start(self, trainer, pl_module):
        self.before = self.now(trainer, pl_module)

    def now(self, trainer, module):
        return [p.detach().clone() for p in module.model.parameters()], state(trainer)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        after = self.now(trainer, pl_module)
        self.moved.append(not same(self.before, after))
        assert "loss" in outputs, "None is refused where there are several ranks, and one would wait for the others"
        self.norms.append(pl_module.grad_norm)
        self.before = after


def trained(blocks, accumulate=1, optimizer=None, ffn="glu"):
    config = {
        "seed": 1,
        "model": {
            "name": "decoder",
            "d_model": 8,
            "n_layers": 1,
            "context_length": T,
            "attention": {"name": "gqa", "n_heads": 2},
        },
        "loss": {"name": "next_token"},
        "optimizer": optimizer or {"name": "sgd", "lr": 0.1},
        "schedule": {"name": "constant"},
    }
    config["model"]["ffn"] = ffn
    module = LanguageModeling(config, Tokenizer())
    module.total_steps = 5
    quiet_lightning()
    watch = Watch()
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(
        accelerator="cpu", devices=1, max_steps=5, accumulate_grad_batches=accumulate, gradient_clip_val=1.0,
        use_distributed_sampler=False, callbacks=[watch], **off,
    )  # fmt: skip
    trainer.fit(module, PackedDataModule(blocks, batch_size=8))
    return module, watch


INNER = {"name": "adamw", "lr": 0.1, "weight_decay": 0.5}
OPTIMIZERS = [
    {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.5},
    INNER,
    {"name": "adafactor", "weight_decay": 0.5},
    {"name": "schedule_free", "weight_decay": 0.5},
    {"name": "ema", "inner": INNER},
    {"name": "skip_step", "inner": INNER, "window": 2},
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o["name"])
def test_it_is_no_step_for_weights_or_optimizer(optimizer):
    """Steps 0 and 3: no weight decay, no momentum, no average, no count of steps."""
    _, watch = trained(Rows(lambda i: i // 8 in (0, 3), "labels"), optimizer=optimizer)
    assert watch.moved == [False, True, True, False, True]
    assert [n is None for n in watch.norms] == [True, False, False, True, False]


@pytest.mark.parametrize("by", ["labels", "weights"])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_however_it_is_silent_and_cut_and_whatever_layers_add(by, accumulate):
    module, watch = trained(Rows(lambda i: i // 8 in (1, 2), by), accumulate, ffn={"name": "moe", "n_experts": 2})
    assert watch.moved == [True, False, False, True, True]
    assert module.take_train()["loss"] > 0
    assert all(p.isfinite().all() for p in module.model.parameters())


def test_micro_batches_that_ask_for_nothing_add_nothing():
    """As a rank does whose rows ask for nothing: its share of the step's mean is 0, and the others' are as they were."""
    found = []
    for accumulate in (1, 8):
        module, watch = trained(Rows(lambda i: i % 8 in (1, 2, 7), "labels"), accumulate)
        assert all(watch.moved)
        found.append(torch.cat([p.detach().flatten() for p in module.model.parameters()]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)


def test_the_data_side_knows_it_of_a_ranks_own_rows():
    blocks = Rows(lambda i: i // 8 == 1 or i in (2, 3, 6, 7), "labels")  # of the first step, the second rank asks for nothing
    for rank, asked in enumerate(([True, False, True], [False, False, True])):
        steps = TrainSteps(blocks, 8, 2, rank, 2, True)
        items = [steps[i] for i in range(6)]
        assert [i.asked for i in items] == [a for a in asked for _ in range(2)]
        assert not any(i.whole for i in items)
        assert [i.to("cpu").asked for i in items] == [i.asked for i in items]


def test_a_rank_that_asks_for_nothing_learns_from_the_sum_whether_others_do(monkeypatch):
    added: list[list[float]] = []

    def begin_sum(value):
        added.append(value.tolist())
        return lambda: value + torch.tensor([others, 4.0])

    monkeypatch.setattr(stepping, "begin_sum", begin_sum)
    module, _ = trained(Rows(lambda i: False, "labels"), 1)  # noqa: ARG005
    ids = torch.ones(1, 4, dtype=torch.long)
    nothing = MicroBatch(Batch(ids, torch.full_like(ids, -100)), torch.tensor([0.0, 4.0]), whole=False)
    for others, idle in ((3.0, False), (0.0, True)):
        module.on_train_batch_start(nothing, 0)
        assert module.idle == idle
        assert module.step_totals(nothing).tolist() == [others, 8.0]
    second = MicroBatch(nothing.batch, nothing.totals, whole=False, first=False)
    module.on_train_batch_start(second, 1)
    assert added == [[0.0, 4.0], [0.0, 4.0]], "ranks add up once a step"
    assert module.step_totals(second).tolist() == [0.0, 8.0]


class Ahead(torch.nn.Linear):
    n_ahead = 1

    def forward(self, x, ahead=0):
        return super().forward(x)


class Teacher(torch.nn.Module):
    """Says the same of every batch."""

    def __init__(self, hidden, head):
        super().__init__()
        self.hidden, self.head = hidden, head

    def forward(self, batch, objective):
        return objective(self.hidden, self.head, batch)


LOSSES = sorted(name for _, name in registry.entries("loss"))


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_nothing_is_nothing_with_a_gradient_of_zeros(name):
    d, rows = 8, 3
    sizes = {"vocab_size": VOCABULARY} if "vocab_size" in registry.entry("loss", name).signature.sizes else {}
    teaches = {"distillation": {"teacher": "none"}, "ensemble_distillation": {"teachers": ["none", "no one"]}}.get(name, {})
    loss = build("loss", name, **sizes, **teaches)
    head = Ahead(d, VOCABULARY)
    whole, width = name in ("classification", "regression"), T
    if teaches:
        teacher = Teacher(torch.zeros(rows, T, d), torch.nn.Linear(d, VOCABULARY))
        loss.attach(teacher if name == "distillation" else torch.nn.ModuleList([teacher, teacher]))
    ids = torch.zeros(rows, width, dtype=torch.long)
    targets = torch.full((rows,) if whole else ids.shape, -100)
    if name == "regression":
        head, targets = torch.nn.Linear(d, 1), torch.full((rows, 1), float("nan"))
    hidden = torch.randn((rows, d) if whole else (rows, width, d), requires_grad=True)
    batch = Batch(ids, targets)
    if any(provides(loss, word) for word in ("pairs", "rewards")):
        batch = pairs_in(batch)
    if provides(loss, "rewards"):
        head = torch.nn.Linear(d, 1)
    if provides(loss, "groups"):
        rewards, lengths = torch.tensor([[1.0, 0.0]] * rows), torch.zeros(rows, 2, dtype=torch.long)
        batch = replace(batch, rewards=rewards, lengths=lengths, reference=torch.zeros(rows, T))
    terms = loss(hidden, head, batch)
    value, weight = terms.losses["loss"]
    assert (value.item(), weight.item()) == (0.0, 0.0)
    value.backward()
    assert not hidden.grad.any()
    assert not any(p.grad is not None and p.grad.any() for p in head.parameters())


MASKED = {
    "model": {"name": "encoder", "context_length": 8, "head": {"name": "mlm"}},
    "task": {"name": "masked_language_modeling", "batch_size": 1, "validation_every": 30, "validation_fraction": 0.2},
    "loss": {"name": "masked_lm"},
}


def test_a_run_counts_them_and_writes_no_number_for_them(tiny, capsys):
    config = tiny(**MASKED, trainer={"max_steps": 40, "log_every_n_steps": 1})
    for option in ("samples", "judged_samples", "test_fraction"):
        config["task"].pop(option, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        quiet_lightning()
        done = fit(Job(config, "masked"))
    said = capsys.readouterr().out
    count = done.figures["idle_steps"]
    assert 5 <= count <= 30
    assert json.loads((done.folder / "summary.json").read_text())["idle_steps"] == count
    assert said.count("asks for nothing (no target in its rows), and changes nothing") == 1
    assert f"steps that asked for nothing    {count}" in said
    rows = list(csv.DictReader((done.folder / "metrics.csv").open()))
    assert sum(r["train_loss"] == "" for r in rows) == count
    assert "nan" not in (done.folder / "metrics.csv").read_text()
    kept = torch.load(done.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(v.isfinite().all() for v in kept["state_dict"].values())
    assert f"'idle': {count}" in str(kept["callbacks"]), "a run that goes on goes on counting"


def test_a_split_with_nothing_to_measure_is_refused_before_there_is_a_folder(tiny, tmp_path):
    config = tiny(**MASKED)
    config["loss"]["rate"] = 0.0
    for option in ("samples", "judged_samples", "test_fraction"):
        config["task"].pop(option, None)
    with pytest.raises(UserError, match=r"have no target.*validation_fraction=0"):
        fit(Job(config, "masked", quiet=True))
    assert not (tmp_path / "runs").exists()
