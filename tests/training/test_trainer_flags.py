"""Every argument of the Trainer that a run takes does what it says; the others are refused."""

from __future__ import annotations

import inspect

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelSummary, Timer

from components.core import registry
from components.core.errors import UserError
from components.core.groups import NOT_OURS
from components.training import limits
from components.training.experiment import Job, fit
from components.training.making import make_trainer

# flag: (a value that is not the usual one, whether the Trainer, or for our own ones the settings, has it)
ARRIVES = {
    "accelerator": ("cpu", lambda t, _: type(t.accelerator).__name__ == "CPUAccelerator"),
    "accumulate_grad_batches": (2, lambda t, _: t.accumulate_grad_batches == 2),
    "benchmark": (True, lambda *_: torch.backends.cudnn.benchmark),
    "detect_anomaly": (True, lambda t, _: t._detect_anomaly),
    "deterministic": (True, lambda *_: torch.are_deterministic_algorithms_enabled()),
    "devices": (2, lambda t, _: t.num_devices == 2),
    "enable_model_summary": (True, lambda t, _: any(isinstance(c, ModelSummary) for c in t.callbacks)),
    "fast_dev_run": (2, lambda t, s: t.fast_dev_run == 2 and limits.total_steps(s, 9, 1) == 2),
    "gradient_clip_algorithm": ("value", lambda t, _: t.gradient_clip_algorithm == "value"),
    "gradient_clip_val": (0.25, lambda t, _: t.gradient_clip_val == 0.25),
    "inference_mode": (False, lambda t, _: t.validate_loop.inference_mode is False),
    "limit_train_batches": (3, lambda _, s: limits.steps_in_epoch(s, 9) == 3),
    "limit_val_batches": (3, lambda t, _: t.limit_val_batches == 3),
    "log_every_n_steps": (7, lambda t, _: t.log_every_n_steps == 7),
    "max_epochs": (2, lambda _, s: limits.total_steps(s, 9, 1) == 18),
    "max_steps": (5, lambda _, s: limits.total_steps(s, 9, 1) == 5),
    "max_time": ("00:00:01:00", lambda t, _: next(c for c in t.callbacks if isinstance(c, Timer))._duration == 60),
    "max_tokens": (50, lambda _, s: limits.total_steps(s, 9, 10) == 5),
    "min_epochs": (4, lambda t, _: t.fit_loop.min_epochs == 4),
    "min_steps": (4, lambda t, _: t.fit_loop.epoch_loop.min_steps == 4),
    "num_nodes": (2, lambda t, _: t.num_nodes == 2),
    "num_sanity_val_steps": (3, lambda t, _: t.num_sanity_val_steps == 3),
    "precision": ("bf16-mixed", lambda t, _: t.precision == "bf16-mixed"),
    "profiler": ("advanced", lambda t, _: type(t.profiler).__name__ == "AdvancedProfiler"),
    "strategy": ("ddp", lambda t, _: type(t.strategy).__name__ == "DDPStrategy"),
    "sync_batchnorm": (True, lambda t, _: t._accelerator_connector._layer_sync is not None),
    "val_check_interval": (6, lambda t, _: t.val_check_interval == 6),
}
# below, in a run; the time in test_ranks.py, what stays in test_keeping.py
OURS = ("enable_checkpointing", "enable_progress_bar", "keep_last", "keep_every", "timeout")


@pytest.fixture(autouse=True)
def torch_as_before():
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.backends.cudnn.benchmark = before[1]


def test_every_argument_works_or_is_refused():
    known = {*inspect.signature(Trainer.__init__).parameters, "max_tokens", "keep_last", "keep_every", "timeout"} - {"self"}
    assert known == {*ARRIVES, *OURS, *NOT_OURS}
    assert set(registry.entry("trainer", "lightning").signature.options) == {*ARRIVES, *OURS}
    assert not set(ARRIVES) & set(NOT_OURS)


@pytest.mark.parametrize("name", sorted(NOT_OURS))
def test_what_is_refused_is_refused_with_what_to_do_instead(name):
    with pytest.raises(UserError, match=f"^trainer.{name}: cannot be set; "):
        limits.trainer_settings({"max_steps": 5, name: 1})


@pytest.mark.parametrize("name", sorted(ARRIVES))
def test_what_is_taken_arrives(name, tmp_path):
    value, arrived = ARRIVES[name]
    length = {} if name in ("max_tokens", "max_epochs") else {"max_steps": 50}
    length |= {"max_epochs": 50} if name == "limit_train_batches" else {}
    settings = limits.trainer_settings({"accelerator": "cpu", "devices": 1, **length, name: value})
    trainer = make_trainer(settings, 10, 50, folder=tmp_path)
    assert arrived(trainer, settings)


def test_reports_that_are_asked_for_are_given(tiny, capfd):
    asked = {"profiler": "simple", "enable_model_summary": True, "enable_checkpointing": False, "enable_progress_bar": False}
    left = fit(Job(tiny(trainer={**asked, "max_steps": 4}), "tiny")).folder
    report = (left / "fit-profile.txt").read_text()
    assert "run_training_batch" in report
    said = capfd.readouterr()
    assert str(left / "fit-profile.txt") in said.out
    assert "rainable params" in said.out + said.err
    assert "tok/s" not in said.err + said.out, "no bar"
    assert not list((left / "checkpoints").iterdir())


def test_more_steps_than_early_stopping_asks_for(tiny):
    stops = {"early_stopping": {"patience": 0, "min_delta": 1e9}}
    config = tiny(trainer={"max_steps": 20, "min_steps": 12}, callbacks=stops)
    assert fit(Job(config, "tiny", quiet=True)).figures["step"] == 12


@pytest.mark.parametrize(("name", "size"), [("hsdp", "shard_size"), ("fsdp2_tp", "tensor_size"), ("cp", "context_size")])
@pytest.mark.parametrize("devices", [1, 3])
def test_groups_that_devices_do_not_divide_into_are_refused_before_there_is_a_folder(name, size, devices, tiny, tmp_path):
    strategy = {"name": name, size: 2}
    config = tiny(trainer={"devices": devices, "max_steps": 4, "strategy": strategy}, task={"batch_size": 6})
    with pytest.raises(UserError, match=rf"trainer\.strategy\.{size}: {devices} devices are no whole number of groups of 2"):
        fit(Job(config, "tiny", quiet=True))
    assert not [*tmp_path.rglob("run.json")]
