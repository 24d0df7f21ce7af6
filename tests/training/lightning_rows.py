"""Each callback, logger and flag of Lightning with a run of a tiny model that shows whether it does what it says, here with our tasks and data.

A row's ``seen`` looks for the effect. What a row refuses is refused in one line, which the table shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning import Trainer
from lightning.pytorch import callbacks as C
from lightning.pytorch import loggers as G
from lightning.pytorch.plugins import AsyncCheckpointIO
from lightning.pytorch.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from lightning.pytorch.tuner import Tuner
from plain import trainer
from test_plain_trainer import Seen, rows_of

from components.core.errors import UserError
from components.training.experiment import restored


@dataclass
class Run:
    """What a row has run: the trainer, the task with what it was before, the data, and a folder."""

    trainer: Trainer
    task: Any
    data: Any
    before: dict[str, torch.Tensor]
    folder: Path
    seen: Seen
    said: Any = None  # what validate, test or predict gave


@dataclass
class Row:
    """One line of the table.

    Args:
        options: of the Trainer, made in the row's folder.
        note: what to know of it here.
        seen: whether it has had its effect.
        name: of a method of the trainer: fit, validate, test or predict.
        package: without it the row cannot be run.
        config: changes of the config.
        lightning: Lightning itself refuses it, in its own words; the note says why.
        value: what the table shows as the flag's value.
    """

    options: Callable[[Path], dict[str, Any]] = lambda _: {}
    note: str = ""
    seen: Callable[[Run], bool] = lambda _: True
    name: str = "fit"
    package: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    lightning: bool = False
    value: str = ""


def lasts(run: Run) -> bool:
    return run.trainer.global_step == 4 and not torch.equal(run.before["head.logits.weight"], run.task.model.head.logits.weight)


def with_callbacks(make: Callable[[Path], Any], **more: Any) -> Callable[[Path], dict[str, Any]]:
    def options(folder: Path) -> dict[str, Any]:
        made = make(folder)
        return {"callbacks": made if isinstance(made, list) else [made], **more}

    return options


def own(run: Run, kind: type) -> Any:
    return next(c for c in run.trainer.callbacks if isinstance(c, kind))


class FreezeEmbedding(C.BaseFinetuning):
    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.model.embedding)

    def finetune_function(self, pl_module, epoch, optimizer): ...


class Writer(C.BasePredictionWriter):
    def __init__(self):
        super().__init__("batch")
        self.shapes = []

    def write_on_batch_end(self, trainer, pl_module, prediction, *rest):  # noqa: ARG002  Lightning's
        self.shapes.append(tuple(prediction.shape))


LONG = {"max_steps": -1, "max_epochs": 2}
EPOCHS = {**LONG, "limit_train_batches": 2}
SAVING = {"enable_checkpointing": True}
every_two = with_callbacks(lambda f: C.ModelCheckpoint(f / "kept", monitor="val_loss", save_top_k=1), **EPOCHS, **SAVING)


def averaged(run: Run) -> bool:
    return own(run, C.WeightAveraging)._average_model is not None and lasts(run)


CALLBACKS: dict[str, Row] = {
    "BackboneFinetuning": Row(with_callbacks(lambda _: C.BackboneFinetuning())),
    "BaseFinetuning": Row(
        with_callbacks(lambda _: FreezeEmbedding()),
        "a class of your own that freezes parts: `pl_module.model.embedding`; `tuning=` does it in the config",
        lambda r: torch.equal(r.before["embedding.table.weight"], r.task.model.embedding.table.weight) and lasts(r),
    ),
    "BasePredictionWriter": Row(
        with_callbacks(lambda _: Writer()),
        "",
        lambda r: sum(s[0] for s in own(r, Writer).shapes) == r.data.test.n_blocks,
        name="predict",
    ),
    "BatchSizeFinder": Row(
        with_callbacks(lambda _: C.BatchSizeFinder(max_trials=2, steps_per_trial=1)),
        "of `batch_size`, rows of a step; the length of the schedule follows",
        lambda r: r.task.batch_size == r.data.batch_size == 4,
    ),
    "DeviceStatsMonitor": Row(
        lambda f: {"callbacks": [C.DeviceStatsMonitor(cpu_stats=True)], "logger": G.CSVLogger(f), "log_every_n_steps": 2},
        "of a CPU it needs the package psutil",
        package="psutil",
    ),
    "EarlyStopping": Row(
        with_callbacks(lambda _: C.EarlyStopping("val_loss", patience=0, min_delta=1e9), **{**EPOCHS, "max_epochs": 9}),
        "watches `val_loss`, `val_` and a metric of the task, or `train_loss`",
        lambda r: r.trainer.current_epoch == 2,
    ),
    "EMAWeightAveraging": Row(with_callbacks(lambda _: C.EMAWeightAveraging()), "or `optimizer=ema`", averaged),
    "GradientAccumulationScheduler": Row(with_callbacks(lambda _: C.GradientAccumulationScheduler({0: 1, 1: 2}))),
    "LambdaCallback": Row(with_callbacks(lambda _: C.LambdaCallback(on_train_start=lambda *_: None)), "", lasts),
    "LearningRateFinder": Row(
        with_callbacks(lambda _: C.LearningRateFinder(num_training_steps=14)),
        "of `optimizer.lr`; the schedule goes on from what is found",
        lambda r: r.task.lr == own(r, C.LearningRateFinder).optimal_lr.suggestion() != 1e-2,
    ),
    "LearningRateMonitor": Row(
        lambda f: {"callbacks": [C.LearningRateMonitor()], "logger": G.CSVLogger(f), "log_every_n_steps": 1},
        "by group of weights; the task logs the largest as `lr`",
        lambda r: "lr-AdamW/pg1" in r.trainer.callback_metrics,
    ),
    "ModelCheckpoint": Row(
        every_two,
        "each file rebuilds the task: `Task.load_from_checkpoint`, `components.load`",
        lambda r: type(r.task).load_from_checkpoint(own(r, C.ModelCheckpoint).best_model_path).config == r.task.config,
    ),
    "ModelPruning": Row(
        with_callbacks(lambda _: C.ModelPruning("l1_unstructured", amount=0.5), **EPOCHS),
        "",
        lambda r: float((r.task.model.head.logits.weight == 0).float().mean()) > 0.2,
    ),
    "ModelSummary": Row(with_callbacks(lambda _: C.ModelSummary(2)), "", lasts),
    "OnExceptionCheckpoint": Row(
        with_callbacks(lambda f: C.OnExceptionCheckpoint(f), **SAVING), "the file rebuilds the task too", lasts
    ),
    "RichModelSummary": Row(with_callbacks(lambda _: C.RichModelSummary(2)), "", lasts),
    "RichProgressBar": Row(with_callbacks(lambda _: C.RichProgressBar(), enable_progress_bar=True), "", lasts),
    "SpikeDetection": Row(with_callbacks(lambda _: C.SpikeDetection(warmup=1)), "or `optimizer=skip_step`", lasts),
    "StochasticWeightAveraging": Row(
        with_callbacks(lambda _: C.StochasticWeightAveraging(swa_lrs=1e-3, swa_epoch_start=1), **EPOCHS),
        "its own schedule takes over",
        lambda r: own(r, C.StochasticWeightAveraging).n_averaged is not None and lasts(r),
    ),
    "ThroughputMonitor": Row(
        lambda f: {
            "callbacks": [
                C.ThroughputMonitor(
                    batch_size_fn=lambda b: len(b.batch.ids), length_fn=lambda b: b.batch.ids.numel(), window_size=2
                )
            ],
            "logger": G.CSVLogger(f),
            "log_every_n_steps": 2,
        },
        "`batch_size_fn=lambda b: len(b.batch.ids)`, `length_fn=lambda b: b.batch.ids.numel()`",
        lambda r: any(len(one._batches) for one in own(r, C.ThroughputMonitor)._throughputs.values()),
    ),
    "Timer": Row(with_callbacks(lambda _: C.Timer(duration={"hours": 1})), "", lambda r: own(r, C.Timer).time_elapsed() > 0),
    "TQDMProgressBar": Row(with_callbacks(lambda _: C.TQDMProgressBar(), enable_progress_bar=True), "", lasts),
    "WeightAveraging": Row(with_callbacks(lambda _: C.WeightAveraging()), "", averaged),
}


def logged(run: Run) -> bool:
    run.trainer.logger.save()
    rows = rows_of(next(run.folder.rglob("metrics.csv")))
    hparams = next(run.folder.rglob("hparams.yaml")).read_text()
    return "train_loss" in rows[1] and "decoder" in hparams


LOGGERS: dict[str, Row] = {
    "CSVLogger": Row(lambda f: {"logger": G.CSVLogger(f), "log_every_n_steps": 2}, "the config goes to `hparams.yaml`", logged),
    "TensorBoardLogger": Row(lambda f: {"logger": G.TensorBoardLogger(f)}, "", lasts, package="tensorboard"),
    "WandbLogger": Row(
        lambda f: {"logger": G.WandbLogger(save_dir=f, mode="disabled"), "log_every_n_steps": 2}, "", lasts, package="wandb"
    ),
    "MLFlowLogger": Row(lambda f: {"logger": G.MLFlowLogger(save_dir=str(f))}, "", lasts, package="mlflow"),
    "CometLogger": Row(lambda f: {"logger": G.CometLogger(offline_directory=str(f))}, "", lasts, package="comet_ml"),
    "LitLogger": Row(lambda f: {"logger": G.LitLogger(root_dir=str(f))}, "", lasts, package="litlogger"),
    "several": Row(
        lambda f: {"logger": [G.CSVLogger(f / "a"), G.CSVLogger(f / "b")], "log_every_n_steps": 2},
        "a list",
        lambda r: len(list(r.folder.rglob("metrics.csv"))) == 2,
    ),
}


def given(note: str = "", seen: Callable[[Run], bool] = lasts, *, value: str = "", **options: Any) -> Row:
    """A row of one flag, the first; the others are what it takes to see it."""
    name, first = next(iter(options.items()))
    return Row(lambda _: options, note, seen, value=value or f"{name}={first!r}")


def same(run: Run) -> bool:
    return run.trainer.global_step == 4 and math.isclose(float(run.trainer.callback_metrics["train_loss"]), PLAIN, rel_tol=2e-4)


PLAIN = 5.2  # set by the first run

FLAGS: dict[str, list[Row]] = {
    "accelerator": [given(accelerator="cpu"), given("whatever is there", accelerator="auto")],
    "strategy": [
        given(strategy="auto"),
        given("several devices learn the same as one", strategy="ddp"),
        Row(
            lambda _: {"strategy": "fsdp"},
            "FSDP1; `components.strategies.FSDP2()` instead",
            lightning=True,
            value="strategy='fsdp'",
        ),
        Row(
            lambda _: {"strategy": "deepspeed"},
            "needs GPUs and the package deepspeed",
            package="deepspeed",
            value="strategy='deepspeed'",
        ),
    ],
    "devices": [given(devices=1), given(devices="auto")],
    "num_nodes": [given(num_nodes=1)],
    "precision": [
        *(given(seen=same, precision=p) for p in ("32-true", "64-true")),
        *(given(precision=p) for p in ("bf16-mixed", "bf16-true")),
        given("on a CPU Lightning takes bf16 instead and warns", precision="16-mixed"),
        given("learns little: Adam's eps is 0 in fp16", seen=lambda r: r.trainer.global_step == 4, precision="16-true"),
        Row(
            lambda _: {"precision": "transformer-engine"},
            "needs the package transformer_engine",
            package="transformer_engine",
            value="precision='transformer-engine'",
        ),
    ],
    "logger": [given("see above", logger=False)],
    "callbacks": [given("see above", callbacks=[])],
    "fast_dev_run": [
        given("", lambda r: r.trainer.global_step == 1, fast_dev_run=True),
        given("", value="fast_dev_run=True, accumulate_grad_batches=2", fast_dev_run=True, accumulate_grad_batches=2),
    ],
    "max_epochs": [
        given("the schedule ends with it", lambda r: r.task.length() == 130, max_epochs=2, max_steps=-1, limit_val_batches=0),
        given("", value="max_epochs=-1, max_steps=-1", max_epochs=-1, max_steps=-1),
    ],
    "min_epochs": [
        given("", lambda r: r.trainer.current_epoch == 2, min_epochs=1, max_steps=-1, max_epochs=2, limit_train_batches=2)
    ],
    "max_steps": [given("optimizer steps; the schedule ends with it", max_steps=4)],
    "min_steps": [given(min_steps=2)],
    "max_time": [given("beside `max_steps` or `max_epochs`, which the schedule needs", max_time="00:01:00:00")],
    "limit_train_batches": [
        given("micro-batches of an epoch; the next epoch goes on with the rows that come", limit_train_batches=2, **LONG),
        given(
            "",
            value="limit_train_batches=3, accumulate_grad_batches=2",
            limit_train_batches=3,
            accumulate_grad_batches=2,
        ),
    ],
    "limit_val_batches": [
        given(
            "bits per byte are of what is read",
            lambda r: math.isfinite(float(r.trainer.callback_metrics["val_bits_per_byte"])),
            limit_val_batches=1,
            **EPOCHS,
        )
    ],
    "limit_test_batches": [
        Row(lambda _: {"limit_test_batches": 1}, "", lambda r: "test_loss" in r.said[0], "test", value="limit_test_batches=1")
    ],
    "limit_predict_batches": [
        Row(lambda _: {"limit_predict_batches": 1}, "", lambda r: len(r.said) == 1, "predict", value="limit_predict_batches=1")
    ],
    "overfit_batches": [
        given(
            "the same batches in each epoch",
            lambda r: r.seen.rows[:2] == r.seen.rows[2:],
            overfit_batches=2,
            max_steps=-1,
            max_epochs=2,
        )
    ],
    "val_check_interval": [
        given(
            "in micro-batches",
            measured := lambda r: "val_loss" in r.trainer.callback_metrics and lasts(r),
            val_check_interval=2,
        ),
        given("a share of the epoch", measured, val_check_interval=0.5, limit_train_batches=4),
        given("", val_check_interval="00:01:00:00", check_val_every_n_epoch=None),
    ],
    "check_val_every_n_epoch": [given("", measured, check_val_every_n_epoch=2, **EPOCHS)],
    "num_sanity_val_steps": [given("does not count", lambda r: lasts(r) and not r.task.eval_sums, num_sanity_val_steps=2)],
    "log_every_n_steps": [
        given(
            "`train_loss` is the mean since the last row",
            lambda r: not r.task.train_sums,
            log_every_n_steps=2,
        )
    ],
    "enable_checkpointing": [given(enable_checkpointing=True)],
    "enable_progress_bar": [given("shows `train_loss` and `val_loss`", enable_progress_bar=True)],
    "enable_model_summary": [given(enable_model_summary=True)],
    "accumulate_grad_batches": [
        given("micro-batches that *share* `task.batch_size`: the numbers stay the same", same, accumulate_grad_batches=4),
        given("", accumulate_grad_batches=3),
    ],
    "gradient_clip_val": [
        given("the norm is logged as `grad_norm`", lambda r: r.task.grad_norm is not None, gradient_clip_val=0.5)
    ],
    "gradient_clip_algorithm": [given(gradient_clip_algorithm="value", gradient_clip_val=0.01)],
    "deterministic": [given(seen=same, deterministic=True)],
    "benchmark": [given(benchmark=True)],
    "inference_mode": [given(inference_mode=False)],
    "use_distributed_sampler": [given("our loaders are divided among ranks already", use_distributed_sampler=True)],
    "profiler": [
        *(given(profiler=name) for name in ("simple", "advanced")),
        Row(
            lambda f: {"profiler": PyTorchProfiler(dirpath=f, filename="p", schedule=None)},
            "",
            lasts,
            value="profiler=PyTorchProfiler()",
        ),
        Row(lambda f: {"profiler": AdvancedProfiler(dirpath=f, filename="p")}, "", lasts, value="profiler=AdvancedProfiler()"),
        Row(lambda f: {"profiler": SimpleProfiler(dirpath=f, filename="p")}, "", lasts, value="profiler=SimpleProfiler()"),
    ],
    "detect_anomaly": [given(seen=same, detect_anomaly=True)],
    "barebones": [
        given(
            "nothing is logged",
            lambda r: lasts(r) and not r.trainer.callback_metrics,
            value="barebones=True",
            barebones=True,
            logger=None,
            enable_checkpointing=None,
            enable_progress_bar=None,
            enable_model_summary=None,
        )
    ],
    "plugins": [Row(lambda _: {"plugins": [AsyncCheckpointIO()]}, "", lasts, value="plugins=AsyncCheckpointIO()")],
    "sync_batchnorm": [given(sync_batchnorm=True)],
    "reload_dataloaders_every_n_epochs": [given(reload_dataloaders_every_n_epochs=1, **EPOCHS)],
    "default_root_dir": [Row(lambda f: {"default_root_dir": str(f / "root")}, "", lasts, value="default_root_dir=folder")],
    "enable_autolog_hparams": [given("the config is logged in any case", enable_autolog_hparams=False)],
    "model_registry": [
        Row(
            lambda _: {"model_registry": "mine"},
            "needs the package litmodels",
            lasts,
            package="litmodels",
            value="model_registry=name",
        )
    ],
}

METHODS: dict[str, Row] = {
    "fit": Row(note="with `ckpt_path=` it goes on from any checkpoint of a task, also of a run of ours", seen=lasts),
    "validate": Row(note="logs `val_loss` and the task's metrics", seen=lambda r: "val_loss" in r.said[0], name="validate"),
    "test": Row(note="logs `test_loss` and the task's metrics", seen=lambda r: "test_loss" in r.said[0], name="test"),
    "predict": Row(
        note="of the test split (validation where there is none) each row once: logits, labels with probabilities, numbers, or answers",
        seen=lambda r: sum(map(len, r.said)) == r.data.test.n_blocks,
        name="predict",
    ),
    "Tuner.lr_find": Row(
        note="", seen=lambda r: r.said.suggestion() == r.task.lr, name="lr_find", options=lambda _: {"max_steps": 14}
    ),
    "Tuner.scale_batch_size": Row(note="", seen=lambda r: r.said == r.task.batch_size == 4, name="scale_batch_size"),
}


def ran(row: Row, task: Any, data: Any, folder: Path) -> Run:
    """Run it, and see its effect."""
    seen = Seen()
    options = {
        "max_steps": 4,
        "log_every_n_steps": 50,
        "limit_val_batches": 2,
        "num_sanity_val_steps": 0,
        **row.options(folder),
    }
    if options.get("fast_dev_run"):
        del options["max_steps"]
    if options.get("barebones"):
        del options["log_every_n_steps"], options["num_sanity_val_steps"]
    made = trainer(folder, **{**options, "callbacks": [*options.get("callbacks", []), seen]})
    with alone():
        return _ran(row, made, task, data, folder, seen)


@contextmanager
def alone() -> Iterator[None]:
    """What a strategy of several ranks leaves in this process goes: the group, and where ranks meet."""
    try:
        with restored():
            yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _ran(row: Row, made: Trainer, task: Any, data: Any, folder: Path, seen: Seen) -> Run:
    run = Run(made, task, data, {n: v.clone() for n, v in task.model.state_dict().items()}, folder, seen)
    if row.name == "lr_find":
        run.said = Tuner(made).lr_find(task, data, num_training=14)
    elif row.name == "scale_batch_size":
        run.said = Tuner(made).scale_batch_size(task, datamodule=data, max_trials=2, steps_per_trial=1)
    elif row.name == "fit":
        made.fit(task, data)
    else:
        quiet = {} if row.name == "predict" else {"verbose": False}
        run.said = getattr(made, row.name)(task, data, **quiet)
    assert row.seen(run), "it runs, and does not do what it says"
    return run


__all__ = ["CALLBACKS", "FLAGS", "LOGGERS", "METHODS", "Row", "UserError", "ran"]
