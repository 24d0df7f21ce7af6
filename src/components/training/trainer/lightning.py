"""Lightning's Trainer as a run uses it: the user's arguments; order of data, saving and the bar are ours."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.profilers import AdvancedProfiler, PassThroughProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from components.core.errors import UserError
from components.core.makers import Maker, ScopedMaker, make
from components.core.registry import register
from components.core.signature import NonNegative, NonNegativeFloat, Positive, PositiveFloat
from components.training.devices import precision_here
from components.training.float8 import PRECISION
from components.training.float8_run import Float8
from components.training.limits import foreign_strategy
from components.training.strategies import left_to_trainer
from components.training.trainer._quick import QuickTrainer


@register("trainer", "lightning")
def lightning(
    every: int,
    steps: int,
    folder: Path | None,
    loggers: Sequence[Any],
    callbacks: Sequence[Any],
    *,
    max_steps: int | float | None = None,
    max_tokens: int | float | None = None,
    max_epochs: int | float | None = None,
    max_time: str | dict | None = None,
    min_steps: NonNegative | None = None,
    min_epochs: NonNegative | None = None,
    accelerator: str | None = "auto",
    devices: int | str | list[int] | None = "auto",
    num_nodes: Positive = 1,
    strategy: Maker["strategy"] = "auto",
    precision: Literal[
        "auto",
        "32-true",
        "bf16-mixed",
        "bf16-true",
        "16-mixed",
        "16-true",
        "fp8-mixed",
        "64-true",
        "transformer-engine",
        "transformer-engine-float16",
        "64",
        "32",
        "16",
        "bf16",
        64,
        32,
        16,
    ] = "32-true",
    gradient_clip_val: NonNegativeFloat | None = 1.0,
    gradient_clip_algorithm: Literal["norm", "value"] | None = None,
    accumulate_grad_batches: Positive = 1,
    val_check_interval: Positive | None = None,
    limit_train_batches: int | float | None = None,
    limit_val_batches: int | float | None = None,
    num_sanity_val_steps: int = 0,
    log_every_n_steps: Positive = 10,
    enable_checkpointing: bool = True,
    keep_last: NonNegative = 0,
    keep_every: Positive | None = None,
    enable_progress_bar: bool = True,
    enable_model_summary: bool = False,
    fast_dev_run: bool | NonNegative = False,
    profiler: Literal["simple", "advanced", "pytorch"] | None = None,
    detect_anomaly: bool = False,
    deterministic: bool | Literal["warn"] | None = None,
    benchmark: bool | None = None,
    inference_mode: bool = True,
    sync_batchnorm: bool = False,
    timeout: PositiveFloat = 600.0,
) -> Trainer:
    """Lightning's Trainer: how long a run is, on which devices, in which precision.

    Args:
        every: optimizer steps between validations, unless ``val_check_interval`` says it in micro-batches.
        steps: the length of the run.
        folder: of the run, or None on ranks that write nothing.
        loggers: Lightning's.
        callbacks: Lightning's.
        max_steps: optimizer steps; the run ends at the first of this, max_tokens and max_epochs that it comes to. null: not limited by it.
        max_tokens: training tokens, likewise.
        max_epochs: passes over the data, likewise.
        max_time: stop after so long, days:hours:minutes:seconds or ``{hours: 8}``; beside one of the lengths, which the schedule needs.
        min_steps: early stopping does not end the run before so many steps.
        min_epochs: nor before so many passes.
        accelerator: ``cpu``, ``gpu``, ``mps``, ``tpu``; auto: the fastest of this machine.
        devices: how many, or which, ``[0,1]``; auto: all of them, of CPUs one process.
        num_nodes: machines, each with so many devices.
        strategy: how the run is laid out on them.
        precision: what is multiplied in, and whether weights stay in fp32 (mixed). auto: bf16-mixed where the device has products of bf16, else 32-true;
            a run goes on in the one that it began in. fp8-mixed: linear maps of layers in fp8, the rest in bf16, on a GPU
            that has such products, by torchao.
        gradient_clip_val: gradients are scaled so that their norm is no more than this; null: never.
        gradient_clip_algorithm: ``value`` cuts each number instead of scaling all by their norm, as null does.
        accumulate_grad_batches: micro-batches of a step, which share task.batch_size.
        val_check_interval: micro-batches between validations; null: task.validation_every says it in steps.
        limit_train_batches: a share of an epoch's micro-batches or a number of them, where the run is counted in epochs.
        limit_val_batches: a share of the validation's micro-batches, or a number of them; 0: no validation.
        num_sanity_val_steps: batches to validate on before the first step.
        log_every_n_steps: steps between rows of metrics.csv.
        enable_checkpointing: write best.ckpt and last.ckpt.
        keep_last: so many of the last checkpoints stay besides, as ``step_100.ckpt``.
        keep_every: write a checkpoint at each step that this divides, which stays as well; null: after validations only.
        enable_progress_bar: show a bar.
        enable_model_summary: print Lightning's table of the model.
        fast_dev_run: so many batches of training and validation and no more; true is one.
        profiler: leave a report in the run's folder, ``fit-profile.txt``.
        detect_anomaly: name the operation whose gradient is NaN.
        deterministic: only algorithms that give the same numbers each time; ``warn``: where there is one.
        benchmark: let cuDNN try which algorithm is fastest.
        inference_mode: validate in torch's inference mode; false: without gradients only.
        sync_batchnorm: batch norms count over all devices.
        timeout: seconds that a device waits for another, which is stopped, lost or stuck, before the run ends with an error that says so.

    Raises:
        UserError: what Lightning itself refuses, here on this machine.
    """
    del max_steps, max_tokens, max_epochs  # ``steps`` is what came of them
    del limit_train_batches  # by our own loaders, so that Lightning does not take a share of what is a share already
    del enable_checkpointing, enable_progress_bar, keep_last, keep_every  # these are our own
    del timeout  # of whoever watches the ranks
    name, here = strategy_name(strategy), precision_here(precision, accelerator)
    laid_out = name if foreign_strategy(name) else make(strategy, "strategy", precision=here)
    if enable_model_summary:
        let_summary_speak()
    if min_steps and min_epochs is None:
        min_epochs = 0  # Lightning's own would be a whole epoch besides
    try:
        return QuickTrainer(
            accelerator=accelerator or "auto",
            devices="auto" if devices is None else devices,
            num_nodes=num_nodes,
            strategy=laid_out,
            **precision_of(left_to_trainer(laid_out, here), accelerator),
            max_steps=steps,
            max_time=max_time,
            min_steps=min_steps,
            min_epochs=min_epochs,
            gradient_clip_val=gradient_clip_val,
            gradient_clip_algorithm=gradient_clip_algorithm,
            accumulate_grad_batches=accumulate_grad_batches,
            val_check_interval=every * accumulate_grad_batches if val_check_interval is None else val_check_interval,
            check_val_every_n_epoch=None,
            limit_val_batches=limit_val_batches,
            num_sanity_val_steps=num_sanity_val_steps,
            log_every_n_steps=log_every_n_steps,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=enable_model_summary,
            fast_dev_run=fast_dev_run,
            profiler=profiler_of(profiler, folder),
            detect_anomaly=detect_anomaly,
            deterministic=deterministic,
            benchmark=benchmark,
            inference_mode=inference_mode,
            sync_batchnorm=sync_batchnorm,
            use_distributed_sampler=False,
            callbacks=list(callbacks),
            logger=list(loggers) or False,
            default_root_dir=str(folder or "."),
        )
    except (MisconfigurationException, ValueError, TypeError, ImportError) as e:  # Lightning's own check of what the user gave
        raise UserError("trainer", " ".join(str(e).split())) from e


def precision_of(left: str, accelerator: str | None) -> dict[str, object]:
    """The argument by which Lightning's Trainer takes a precision: its own by name, ours as a plug-in."""
    if left != PRECISION:
        return {"precision": left}
    cpu = accelerator == "cpu" or not torch.cuda.is_available()
    return {"plugins": Float8("cpu" if cpu else "cuda")}


def strategy_name(chosen: object) -> object:
    """The name in what a socket holds, which may be bound to what it inherits."""
    while isinstance(chosen, ScopedMaker):
        chosen = chosen.maker
    return chosen.get("name") if isinstance(chosen, Mapping) else chosen


def let_summary_speak() -> None:
    """Lightning tells the summary by a logger that is silent here."""
    logger = logging.getLogger("lightning.pytorch.callbacks.model_summary")
    logger.setLevel(logging.INFO)
    logger.handlers, logger.propagate = [logging.StreamHandler()], False


class Nothing:
    """A context that does nothing, in no Python function: `format` of an empty text takes whatever it is given, and gives what is false."""

    __enter__ = __exit__ = "".format


class Unmeasured(PassThroughProfiler):
    """Lightning's, whose empty contexts are made anew for each of a step's forty hooks, and run two functions of Python each."""

    nothing = Nothing()

    def profile(self, action_name: str) -> Nothing:  # type: ignore[override]  # noqa: ARG002  any context will do
        return self.nothing


def profiler_of(name: str | None, folder: Path | None) -> Profiler:
    """Lightning's profiler that leaves its report in the run's folder, as ``fit-profile.txt`` and of PyTorch's also a trace for a browser.

    Nothing is measured where none is asked for, and on ranks that write nothing.
    """
    made = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
    return Unmeasured() if name is None or folder is None else made[name](dirpath=folder, filename="profile")
