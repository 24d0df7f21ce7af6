"""What belongs to no part's signature is refused in one line, without data and without Lightning."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
from lightning.fabric.plugins.precision import precision as lightnings
from lightning.pytorch.strategies import StrategyRegistry

from components.core import registry
from components.core.errors import UserError
from components.core.makers import make
from components.runs.loading import model_of
from components.runs.vocabulary import PLACEHOLDER, Vocabulary
from components.training import foreseen, planning, strategies
from components.training.devices import AUTO, count_devices, processes
from components.training.experiment import Job, fit
from components.training.float8 import PRECISION
from components.training.limits import trainer_settings
from components.training.making import make_trainer
from components.training.preflight import check_settings

WANDB = {"name": "wandb"}


@pytest.fixture(autouse=True)
def loggers_installed(monkeypatch):
    monkeypatch.setattr("components.training.loggers.find_spec", lambda name: name)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": "abc"}, "seed: 'abc'"),
        ({"seed": -1}, "seed: -1"),
        ({"seed": True}, "seed"),
        ({"seed": None}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"trainer": {"max_steps": "abc"}}, "trainer.max_steps: 'abc'"),
        ({"trainer": {"max_steps": 0}}, "trainer.max_steps"),
        ({"trainer": {"max_steps": 0.5}}, "trainer.max_steps"),
        ({"trainer": {"max_tokens": float("nan")}}, "trainer.max_tokens"),
        ({"trainer": {"max_steps": None}}, "trainer: the schedule needs the length"),
        ({"trainer": {"log_every_n_steps": 0}}, "trainer.log_every_n_steps: 0"),
        ({"trainer": {"precision": "foo"}}, "trainer.precision: 'foo' is not one of 'auto', '32-true'"),
        ({"trainer": {"precision": "16-true"}}, "overflows"),
        ({"trainer": {"strategy": "foo"}}, "unknown strategy 'foo'"),
        ({"trainer": {"strategy": "fsdp"}}, "use trainer.strategy=fsdp2"),
        ({"trainer": {"strategy": "fsdp2_t"}}, "unknown strategy 'fsdp2_t'; did you mean 'fsdp2'?"),
        ({"trainer": {"strategy": 3}}, "unknown strategy 3"),
        ({"trainer": {"max_time": "an hour"}}, "trainer.max_time"),
        ({"trainer": {"devices": "two"}}, "trainer.devices: 'two'"),
        ({"trainer": {"devices": 0}}, "trainer.devices: 0"),
        ({"trainer": {"devices": []}}, "trainer.devices"),
        ({"trainer": {"devices": 3}}, "task.batch_size: 8 sequences"),
        ({"trainer": {"devices": "0,1,2"}}, "task.batch_size: 8 sequences"),
        ({"trainer": {"accumulate_grad_batches": 3}}, "multiple of 3"),
        ({"trainer": {"accumulate_grad_batches": 2, "val_check_interval": 3}}, "task.validation_every"),
        ({"trainer": {"val_check_interval": 0.5}}, "trainer.val_check_interval"),
        ({"trainer": {"check_val_every_n_epoch": 2}}, "task.validation_every"),
        ({"trainer": {"limit_train_batches": 0}}, "trainer.limit_train_batches: 0"),
        ({"trainer": {"profiler": "foo"}}, "trainer.profiler: 'foo' is not one of 'simple'"),
        ({"trainer": {"plugins": "x"}}, "trainer.plugins: cannot be set"),
        ({"trainer": {"limit_val_batches": 0}, "callbacks": {"early_stopping": True}}, "limit_val_batches=0 leaves it out"),
        ({"trainer": {"limit_train_batches": 1}}, "trainer.limit_train_batches: makes epochs shorter"),
        ({"trainer": {"limit_train_batches": 1.5}}, "trainer.limit_train_batches: 1.5"),
        ({"trainer": {"limit_train_batches": 1, "accumulate_grad_batches": 2}}, "micro-batches >= 2"),
        ({"trainer": {"limit_val_batches": -1}}, "trainer.limit_val_batches"),
        ({"trainer": {"limit_test_batches": 3}}, "components evaluate"),
        ({"trainer": {"gradient_clip_algorithm": "sign"}}, "trainer.gradient_clip_algorithm"),
        ({"trainer": {"max_stepz": 3}}, "did you mean 'max_steps'"),
        ({"trainer": {"barebones": True}}, "cannot be set"),
        ({"logger": {"foo": 1}}, "csv has no option 'foo'"),
        ({"logger": {"name": "none"}}, "unknown logger 'none'"),
        ({"logger": {**WANDB, "tags": "one"}}, "logger.tags"),
        ({"logger": {**WANDB, "mode": "on"}}, "logger.mode: 'on' is not one of"),
        ({"callbacks": {"foo": 1}}, "unknown callback 'foo'"),
        ({"callbacks": {"early_stopping": 5}}, "no mapping of options"),
        ({"callbacks": {"early_stopping": {"mode": "up"}}}, "callbacks.early_stopping.mode: 'up'"),
        ({"callbacks": {"early_stopping": {"patience": "abc"}}}, "callbacks.early_stopping.patience"),
        ({"callbacks": {"early_stopping": {"patienze": 1}}}, "did you mean 'patience'"),
        ({"callbacks": {"early_stopping": {"monitor": "loss"}}}, "monitor: 'loss' is no figure of validation; val_loss"),
        ({"callbacks": {"early_stopping": True}, "task": {"validation_fraction": 0.0}}, "watches validation"),
        ({"callbacks": {"device_stats": True}}, "logger=tensorboard"),
        ({"paths": {"runs": [1]}}, r"paths.runs: \[1\] is no path"),
        ({"paths": {"foo": "x"}}, "no path 'foo'"),
        ({"task": {"validation_fraction": 0.6, "test_fraction": 0.5}}, "leave nothing to train on"),
        ({"task": {"batch_tokens": 16 * 3}, "trainer": {"devices": 2}}, "task.batch_size: 3 sequences"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_data(tiny, changes, says):
    config = tiny(**changes)
    for where in (check_settings, lambda c: fit(Job(c, "tiny", quiet=True))):
        with pytest.raises(UserError, match=says) as refused:
            where(config)
        assert "\n" not in str(refused.value)
    assert not Path(config["paths"]["cache"]).exists()
    assert config["paths"]["runs"] == [1] or not Path(config["paths"]["runs"]).exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer": {"devices": "auto", "precision": 64, "max_steps": -1, "max_tokens": 1e6}},
        {"trainer": {"devices": [0, 1], "strategy": "ddp_find_unused_parameters_true", "max_time": "00:01:00:00"}},
        {
            "trainer": {
                "max_epochs": 9,
                "limit_train_batches": 0.5,
                "limit_val_batches": 0,
                "gradient_clip_val": None,
                "fast_dev_run": 2,
            }
        },
        {"trainer": {"check_val_every_n_epoch": None, "use_distributed_sampler": False, "deterministic": "warn"}},
        {"callbacks": {"early_stopping": {"patience": 3, "stopping_threshold": 1.0}}, "paths": {"cache": None}},
        {"logger": {**WANDB, "tags": ["a"], "mode": "offline", "init_timeout": 3}},
        {"callbacks": {"device_stats": {"cpu_stats": True}}, "logger": {"name": "tensorboard"}},
    ],
)
def test_what_can_be_is_not(tiny, changes):
    check_settings(tiny(**changes))


def test_names_are_those_of_lightning():
    options = registry.entry("trainer", "lightning").signature.options
    ours = {p for p in options["precision"].type.allowed if isinstance(p, str)}
    theirs = {*get_args(lightnings._PRECISION_INPUT_STR), *get_args(lightnings._PRECISION_INPUT_STR_ALIAS)}
    assert ours == {*theirs, PRECISION, AUTO}
    known = {s for s in StrategyRegistry.available_strategies() if not s.startswith("fsdp")}
    assert known <= set(registry.names("strategy"))
    for name in known - {"fsdp2"}:
        assert make(name, "strategy", precision="32-true") == name
    for (_, name), entry in registry.entries("callback").items():
        theirs = registry.find("callback", name).__mro__[1]
        own = name in ("figures", "guard", "norms")  # ours alone
        assert own or set(entry.signature.options) <= set(inspect.signature(theirs.__init__).parameters), name


def test_no_lightning_to_check():
    code = "import sys, components.training.preflight; assert 'lightning' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    checked = (
        "import sys\n"
        "from components.training.callbacks import check_callbacks\n"
        "from components.training.limits import trainer_settings\n"
        "trainer_settings({'max_steps': 3, 'strategy': {'name': 'ddp', 'find_unused_parameters': True}})\n"
        "check_callbacks({'figures': {'prompt': 'a'}, 'device_stats': True, 'early_stopping': {}}, logger='wandb')\n"
        "assert not {'lightning', 'torch', 'wandb'} & set(sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", checked]).returncode == 0


def test_a_strategy_says_what_it_means():
    mixed, plain = make("fsdp2", "strategy", precision="bf16-mixed"), make("fsdp2", "strategy", precision="64-true")
    assert strategies.shards_weights(mixed)
    assert not strategies.saves_by_itself(mixed)
    assert (strategies.left_to_trainer(mixed, "bf16-mixed"), mixed.compute) == ("32-true", torch.bfloat16)
    assert (strategies.left_to_trainer(plain, "64-true"), plain.compute, plain.double) == ("32-true", None, True)
    ddp = make_trainer({"strategy": {"name": "ddp", "find_unused_parameters": True}, "accelerator": "cpu"}, 5, 5).strategy
    assert ddp._ddp_kwargs == {"find_unused_parameters": True}
    assert not strategies.shards_weights(ddp)
    assert not strategies.saves_by_itself(ddp)


def test_null_is_the_default_where_an_argument_cannot_be_null():
    settings = trainer_settings({"max_steps": 3, "log_every_n_steps": None, "num_nodes": None, "gradient_clip_val": None})
    assert (settings["log_every_n_steps"], settings["num_nodes"], settings["gradient_clip_val"]) == (10, 1, None)


def test_devices():
    for given, count in ((2, 2), ("2", 2), ("0,1", 2), ("0,", 1), ([0, 3], 2), ("auto", None), (-1, None), (None, None)):
        assert count_devices(given) == count
    for wrong in ("two", "0,x", "", 0, -2, 1.5, True, [], ["a"]):
        with pytest.raises(UserError, match="is not a number of devices"):
            count_devices(wrong)
    assert processes({"devices": "0,1", "num_nodes": 3}) == 6


def test_what_lightning_refuses_is_refused_before_there_is_a_folder(tiny):
    for changes in ({"accelerator": "gpuu"}, {"accelerator": "tpu"}, {"devices": [0, 1]}):
        config = tiny(trainer=changes)
        with pytest.raises(UserError, match=r"^trainer: ") as refused:
            fit(Job(config, "tiny", quiet=True))
        assert "\n" not in str(refused.value)
        assert not Path(config["paths"]["runs"]).exists()
        assert not Path(config["paths"]["cache"]).exists()


def test_a_share_of_the_training_batches_is_taken_once(tiny):
    config = tiny(trainer={"max_steps": None, "max_epochs": 2, "limit_train_batches": 0.5})
    whole = fit(Job(tiny(trainer={"max_steps": None, "max_epochs": 2}), "whole", quiet=True)).figures["step"] // 2
    assert whole > 3
    assert fit(Job(config, "half", quiet=True)).figures["step"] == 2 * (whole // 2)


def test_clipping_by_value_is_clipping_by_value(tiny):
    import torch

    from components.training.clipping import clip_values

    weights = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(1))]
    weights[0].grad = torch.tensor([0.5, -7.0, 7.0])
    clip_values(weights, 1.0)
    assert weights[0].grad.tolist() == [0.5, -1.0, 1.0]
    # the trainer's word arrives: with a step as small as this all that changes is how gradients are cut
    common = {"max_steps": 2, "limit_val_batches": 0, "log_every_n_steps": 2, "gradient_clip_val": 1e-4}
    sgd = {"name": "sgd", "lr": 10.0}
    losses = [
        fit(Job(tiny(trainer={**common, "gradient_clip_algorithm": how}, optimizer=sgd), how, quiet=True)).figures["train_loss"]
        for how in ("norm", "value")
    ]
    assert losses[0] != losses[1]
    assert make_trainer({"gradient_clip_algorithm": "value", "accelerator": "cpu"}, 5, 5).gradient_clip_algorithm == "value"


@pytest.mark.parametrize("cold", [True, False])
def test_sizes_that_do_not_fit_are_refused_before_the_data_are_read(tiny, capsys, monkeypatch, cold):
    """Whether the corpus lies there or not: nothing is read, nothing is said but the mistake."""
    config = tiny(model={"attention": {"name": "gqa", "n_heads": 3}})
    if not cold:
        fit(Job(tiny(trainer={"max_steps": 1}), "tiny", quiet=True))
    capsys.readouterr()
    monkeypatch.setattr(planning, "corpus_of", lambda *_, **__: pytest.fail("the data are read"))
    with pytest.raises(UserError, match=r"model\.attention: n_heads=3 does not divide d_model=16"):
        fit(Job(config, "tiny", difference=["model.attention.n_heads: 2 -> 3"]))
    assert capsys.readouterr() == ("", "")


def test_a_model_is_built_once(tiny, monkeypatch):
    """What was built before the data is what trains, where the tokenizer has as many ids as it was to have."""
    built = []
    monkeypatch.setattr(foreseen, "model_of", lambda *of: built.append(model_of(*of)) or built[-1])
    monkeypatch.setattr("components.training.task._training.model_of", lambda *_: pytest.fail("built again"))
    assert fit(Job(tiny(trainer={"max_steps": 1}), "tiny", quiet=True)).folder
    assert len(built) == 1


def test_a_model_that_only_an_assumed_vocabulary_refuses_waits_for_the_tokenizer(tiny, monkeypatch):
    config = tiny()

    def choosy(config, size):
        if size < 2000:
            raise UserError("model.head", f"{size} ids are too few")
        return model_of(config, size)

    monkeypatch.setattr(foreseen, "model_of", choosy)
    monkeypatch.setattr(foreseen, "vocabulary", lambda _: Vocabulary(PLACEHOLDER, "assumed"))
    assert foreseen.foresee(config) is None
    config["model"]["attention"]["n_heads"] = 3
    monkeypatch.setattr(foreseen, "model_of", model_of)
    with pytest.raises(UserError, match="n_heads=3"):
        foreseen.foresee(config)
