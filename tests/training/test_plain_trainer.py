"""Our tasks and data in a ``lightning.Trainer`` of anybody's: the same numbers as our own runs, logged by Lightning's own way."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, LambdaCallback, LearningRateFinder, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from plain import hushed, task_and_data, trainer

import components
from components.core.errors import UserError
from components.training.experiment import Job, fit
from components.training.run import evaluate
from components.training.task.classification import Classification
from components.training.task.language_modeling import LanguageModeling


@pytest.fixture(autouse=True)
def _quietly():
    with hushed():
        yield


def rows_of(file):
    """{step: {figure: value}} of a table of Lightning's or of ours."""
    found = {}
    for row in csv.DictReader(file.open()):
        found.setdefault(int(row["step"]), {}).update({n: float(v) for n, v in row.items() if v})
    return found


class Seen(LambdaCallback):
    """The ids of each batch that was trained on."""

    def __init__(self):
        self.rows = []
        super().__init__(on_train_batch_start=lambda *a: self.rows.append(a[2].batch.ids.tolist()))


# -- the same as our own runs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_plain_trainer_learns_and_logs_what_our_own_run_does(tiny, tmp_path, accumulate):
    config = tiny(trainer={"gradient_clip_val": 0.5, "accumulate_grad_batches": accumulate})
    ours = rows_of(fit(Job(config, "tiny", quiet=True)).folder / "metrics.csv")
    task, data = task_and_data(config)
    logger = CSVLogger(tmp_path / "logs")
    own = trainer(
        tmp_path,
        max_steps=20,
        logger=logger,
        log_every_n_steps=5,
        gradient_clip_val=0.5,
        accumulate_grad_batches=accumulate,
        val_check_interval=5 * accumulate,
        check_val_every_n_epoch=None,
    )
    own.fit(task, data)
    logger.save()
    theirs = rows_of(tmp_path / "logs" / "lightning_logs" / "version_0" / "metrics.csv")
    compared = 0
    for step, row in ours.items():
        logged = {**theirs.get(step, {}), **theirs[step - 1]}  # Lightning counts the first step as 0
        for name in ("train_loss", "lr", "grad_norm", "val_loss", "val_perplexity", "val_bits_per_byte"):
            if name in row:
                assert logged[name] == pytest.approx(row[name], rel=2e-6), (step, name)
                compared += 1
    assert compared == 4 * 6


def test_nothing_is_logged_twice_where_our_recorder_reports(tiny, monkeypatch):
    def never(*_, **__):
        raise AssertionError("Lightning's log is called")

    monkeypatch.setattr(LanguageModeling, "log", never)
    assert fit(Job(tiny(trainer={"max_steps": 6}), "tiny", quiet=True)).figures["state"] == "finished"


def test_a_mean_is_over_targets_and_not_over_batches(tiny, tmp_path):
    # examples of different lengths: the mean of the batches' means would be another number
    (tmp_path / "chat.jsonl").write_text(
        "\n".join(
            json.dumps({"messages": [{"role": "user", "content": f"{i}"}, {"role": "assistant", "content": "b" * (1 + i % 7)}]})
            for i in range(40)
        )
    )
    task, data = task_and_data(
        tiny(
            model={"context_length": 64},
            data={"name": "conversations", "path": str(tmp_path / "chat.jsonl")},
            task={"name": "instruction_tuning", "batch_size": 4, "validation_fraction": 0.4},
        )
    )
    (said,) = trainer(tmp_path).validate(task, data, verbose=False)
    nats = weight = 0.0
    means = []
    for item in data.val_dataloader():
        with torch.no_grad():
            (value, own) = task.placed(item.batch, task.objective).losses["loss"]
        nats, weight, means = nats + float(value), weight + float(own), [*means, float(value) / float(own)]
    assert said["val_loss"] == pytest.approx(nats / weight, rel=1e-6)
    assert said["val_loss"] != pytest.approx(sum(means) / len(means), rel=1e-6)
    assert 0 <= said["val_token_accuracy"] <= 1


# -- the length of the run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        ({"max_steps": 7}, 7),
        ({"max_epochs": 2}, 130),
        ({"max_epochs": 2, "limit_train_batches": 3}, 6),
        ({"max_epochs": 3, "limit_train_batches": 4, "accumulate_grad_batches": 2}, 6),
        ({"max_epochs": 3, "max_steps": 5, "limit_train_batches": 0.05}, 5),
        ({"fast_dev_run": 2}, 2),
        ({"overfit_batches": 2, "max_epochs": 2}, 4),
    ],
)
def test_the_schedule_ends_with_the_trainers_run(tiny, tmp_path, limits, steps):
    task, data = task_and_data(tiny())
    own = trainer(tmp_path, limit_val_batches=1, **limits)
    own.fit(task, data)
    assert own.global_step == steps == own.estimated_stepping_batches
    assert own.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-3)  # cosine's floor, a tenth of 1e-2


def test_a_run_without_an_end_is_refused_by_a_schedule_that_needs_one(tiny, tmp_path):
    task, data = task_and_data(tiny())
    with pytest.raises(
        UserError, match=r"^schedule/cosine: needs the length of the run, which has no end; give the trainer max_"
    ):
        trainer(tmp_path, max_epochs=-1).fit(task, data)
    task, data = task_and_data(tiny(schedule={"name": "constant"}))
    own = trainer(tmp_path, max_epochs=-1, callbacks=[LambdaCallback(on_train_batch_end=stop_at(4))])
    own.fit(task, data)
    assert own.global_step == 4


def stop_at(step):
    def stop(its_trainer, *_):
        its_trainer.should_stop = its_trainer.global_step >= step

    return stop


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"accumulate_grad_batches": 3}, "task.batch_size: 8 sequences a step do not divide into 1 devices x 3 micro-batches"),
        ({"accumulate_grad_batches": 2, "limit_train_batches": 3}, "trainer.limit_train_batches: 3 micro-batches are no whole"),
        ({"accumulate_grad_batches": 2, "fast_dev_run": True}, "trainer.fast_dev_run: 1 micro-batches are no whole number of"),
    ],
)
def test_what_would_learn_from_a_part_of_a_step_is_refused(tiny, tmp_path, options, said):
    task, data = task_and_data(tiny())
    with pytest.raises(UserError, match=f"^{said}"):
        trainer(tmp_path, **{"max_steps": 4, **options}).fit(task, data)


def test_loaders_for_another_layout_of_steps_are_refused(tiny, tmp_path):
    task, data = task_and_data(tiny())
    alone = data.train_dataloader()
    trainer(tmp_path, max_steps=2).fit(task, alone)
    with pytest.raises(UserError, match=r"^train_dataloaders: .*1 devices x 1 micro-batches a step, the trainer has 1 x 2"):
        trainer(tmp_path, max_steps=2, accumulate_grad_batches=2).fit(task, alone)


# -- what is read ------------------------------------------------------------------------------------------------------


def test_epochs_differ_and_a_limited_one_goes_on_with_the_rows_that_come(tiny, tmp_path):
    whole, limited = Seen(), Seen()
    task, data = task_and_data(tiny())
    trainer(tmp_path, max_steps=6, callbacks=[whole], limit_val_batches=0).fit(task, data)
    trainer(tmp_path, max_epochs=2, limit_train_batches=3, callbacks=[limited], limit_val_batches=0).fit(task, data)
    assert limited.rows == whole.rows
    assert len({str(r) for r in whole.rows}) == 6


def test_overfitting_reads_the_same_batches_in_each_epoch(tiny, tmp_path):
    seen = Seen()
    task, data = task_and_data(tiny())
    trainer(tmp_path, max_epochs=3, overfit_batches=2, callbacks=[seen]).fit(task, data)
    assert seen.rows[:2] == seen.rows[2:4] == seen.rows[4:]
    assert seen.rows[0] != seen.rows[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_goes_on_from_a_plain_checkpoint_reads_and_learns_what_it_would_have(tiny, tmp_path, workers):
    config = tiny(task={"num_workers": workers})
    options = {"max_epochs": 1, "limit_train_batches": 12, "limit_val_batches": 0, "accumulate_grad_batches": 2}
    whole = Seen()
    task, data = task_and_data(config)
    trainer(tmp_path, callbacks=[whole], **options).fit(task, data)

    # saved after a step, and in the middle of one
    class Keep(LambdaCallback):
        def __init__(self):
            super().__init__(on_train_batch_end=self.keep)

        def keep(self, its_trainer, _, __, ___, index):
            its_trainer.save_checkpoint(tmp_path / f"{index}.ckpt")

    other, data = task_and_data(config)
    trainer(tmp_path, callbacks=[Keep()], **options).fit(other, data)
    for index, taken in ((5, 3), (6, 3), (11, 6)):
        seen = Seen()
        again, data = task_and_data(config)
        own = trainer(tmp_path, callbacks=[seen], **options)
        own.fit(again, data, ckpt_path=tmp_path / f"{index}.ckpt")
        assert seen.rows == whole.rows[2 * taken :], index
        assert own.global_step == 6
        for (name, a), b in zip(task.placed.named_parameters(), again.placed.parameters()):
            assert torch.equal(a, b), (index, name)


# -- checkpoints -------------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_a_plain_trainer_rebuilds_the_task_and_is_loaded_by_the_library(tiny, tmp_path):
    task, data = task_and_data(tiny())
    keeper = ModelCheckpoint(tmp_path / "kept", monitor="val_loss", filename="best", save_weights_only=True)
    own = trainer(tmp_path, max_epochs=1, limit_train_batches=4, callbacks=[keeper], enable_checkpointing=True)
    own.fit(task, data)
    before = own.validate(task, data, verbose=False)
    for again in (
        LanguageModeling.load_from_checkpoint(tmp_path / "kept" / "best.ckpt"),
        components.Task.load_from_checkpoint(str(tmp_path / "kept" / "best.ckpt")),
    ):
        assert type(again) is LanguageModeling
        assert again.tokenizer.encode("tree") == task.tokenizer.encode("tree")
        assert again.config == task.config
        assert trainer(tmp_path).validate(again, data, verbose=False) == before
    loaded = components.load(tmp_path / "kept" / "best.ckpt")
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(loaded.model(ids), task.placed.eval()(ids))
    assert loaded.generate("the tree", max_new_tokens=3, seed=1).startswith("the tree")
    assert LanguageModeling.load_from_checkpoint(tmp_path / "kept" / "best.ckpt", batch_size=4).batch_size == 4
    with pytest.raises(UserError, match=r"no option 'batch_sise'.*batch_size"):
        LanguageModeling.load_from_checkpoint(tmp_path / "kept" / "best.ckpt", batch_sise=4)
    with pytest.raises(UserError, match=r"is of task/language_modeling, which is no Classification"):
        Classification.load_from_checkpoint(tmp_path / "kept" / "best.ckpt")


def test_a_checkpoint_of_our_run_rebuilds_the_task_and_goes_on_in_a_plain_trainer(tiny, tmp_path):
    config = tiny()
    made = fit(Job(config, "tiny", quiet=True))
    file = made.folder / "checkpoints" / "last.ckpt"

    class Mine(LanguageModeling):
        """Somebody's own, below ours."""

    task = Mine.load_from_checkpoint(file)
    assert type(task) is Mine
    _, data = task_and_data(config)
    (said,) = trainer(tmp_path).validate(task, data, verbose=False)
    assert said["val_loss"] == pytest.approx(made.figures["val_loss"], rel=1e-6)
    own = trainer(tmp_path, max_steps=24)
    own.fit(task, data, ckpt_path=file)
    assert own.global_step == 24


def test_averaged_weights_are_what_a_plain_checkpoint_has(tiny, tmp_path):
    task, data = task_and_data(tiny(optimizer={"name": "schedule_free"}, schedule={"name": "constant"}))
    keeper = ModelCheckpoint(
        tmp_path / "kept", every_n_train_steps=3, save_top_k=-1
    )  # while the model has its training weights
    own = trainer(tmp_path, max_steps=6, callbacks=[keeper], enable_checkpointing=True)
    own.fit(task, data)
    assert task.holds_average
    last = LanguageModeling.load_from_checkpoint(tmp_path / "kept" / "epoch=0-step=6.ckpt")
    for (name, a), b in zip(task.placed.named_parameters(), last.placed.parameters()):
        assert torch.equal(a, b), name
    again, data = task_and_data(tiny(optimizer={"name": "schedule_free"}, schedule={"name": "constant"}))
    trainer(tmp_path, max_steps=6).fit(again, data, ckpt_path=tmp_path / "kept" / "epoch=0-step=3.ckpt")
    for (name, a), b in zip(task.placed.named_parameters(), again.placed.parameters()):
        assert torch.equal(a, b), name


# -- callbacks ---------------------------------------------------------------------------------------------------------


def test_callbacks_watch_what_is_logged(tiny, tmp_path):
    task, data = task_and_data(tiny())
    stopped = EarlyStopping("val_loss", patience=0, min_delta=1e9)
    own = trainer(tmp_path, max_epochs=9, limit_train_batches=2, callbacks=[stopped, EarlyStopping("train_loss", patience=9)])
    own.fit(task, data)
    assert own.current_epoch == 1 + stopped.stopped_epoch == 2


def test_a_found_learning_rate_holds_for_the_schedule_too(tiny, tmp_path):
    task, data = task_and_data(tiny(schedule={"name": "cosine", "warmup": 0.5}))
    rates = []
    watching = LambdaCallback(on_train_batch_start=lambda t, *_: rates.append(t.optimizers[0].param_groups[0]["lr"]))
    finder = LearningRateFinder(num_training_steps=20)
    own = trainer(tmp_path, max_steps=8, callbacks=[finder, watching])
    own.fit(task, data)
    assert task.lr == finder.optimal_lr.suggestion() != 1e-2
    assert rates == pytest.approx([task.lr * task.factor(step) for step in range(8)])
    assert rates[0] < rates[4]


# -- validate, test, predict -------------------------------------------------------------------------------------------


def test_validate_and_test_say_what_evaluate_says(tiny, tmp_path):
    made = fit(Job(tiny(), "tiny", quiet=True))
    file = made.folder / "checkpoints" / "best.ckpt"
    task, (_, data) = LanguageModeling.load_from_checkpoint(file), task_and_data(tiny())
    for split, run in (("validation", trainer(tmp_path).validate), ("test", trainer(tmp_path).test)):
        said, (logged,) = evaluate(made.folder, split=split), run(task, data, verbose=False)
        prefix = {"validation": "val"}.get(split, split)
        for name in ("loss", "perplexity", "bits_per_byte"):
            assert logged[f"{prefix}_{name}"] == pytest.approx(said[name], rel=1e-5), (split, name)


def test_predictions_are_of_each_row_once(tiny, tmp_path):
    task, data = task_and_data(tiny())
    said = torch.cat(trainer(tmp_path).predict(task, data))
    assert said.shape == (data.test.n_blocks, 16, task.vocab_size)
    assert data.test.n_blocks % task.batch_size, "the last batch is shorter"
    ids = data.test.batch(0, [data.test.n_blocks - 1]).ids
    assert torch.allclose(said[-1:], task.placed(data.test.batch(0, [data.test.n_blocks - 1])), atol=1e-5)
    assert ids.shape == (1, 16)
    _, data = task_and_data(tiny(task={"validation_fraction": 0.0, "test_fraction": 0.0}))
    with pytest.raises(UserError, match=r"^predict: no row is held out"):
        trainer(tmp_path).predict(task, data)


def test_a_recipe_whose_step_is_said_in_tokens_has_so_many_rows(tmp_path):
    recipe = components.load_recipe("llama_tiny", ["task.batch_tokens=256", f"paths.cache={tmp_path}"])
    assert recipe.task.batch_size == recipe.data.batch_size == 4
