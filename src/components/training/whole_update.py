"""What Lightning's strategy and precision do in a step on one device: the same hooks in the same order, and only those that somebody has written.

Lightning's own way from its loop to ``training_step`` and back is some twenty functions, each in a context of a profiler: more Python than a small model.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.core.hooks import DataHooks
from lightning.pytorch.loops.optimization.automatic import Closure, ClosureResult
from lightning.pytorch.loops.progress import _OptimizerProgress
from lightning.pytorch.plugins import MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.optim import Optimizer

from components.corpus.steps import MicroBatch

OF_PRECISION = (
    "pre_backward",
    "backward",
    "post_backward",
    "optimizer_step",
    "_wrap_closure",
    "_after_closure",
    "_clip_gradients",
)
OF_DATA = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
OF_STEP = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


def plain_step(trainer: Trainer) -> bool:
    """Whether module, data and callbacks alone act on a step: there are no other ranks, no scaler of gradients and no profiler."""
    module, precision, strategy = trainer.lightning_module, trainer.precision_plugin, trainer.strategy
    kind = type(precision)
    unscaled = kind is MixedPrecision and cast(MixedPrecision, precision).scaler is None
    return (
        type(strategy) is SingleDeviceStrategy
        and strategy.model is module  # and not what wraps it
        and (unscaled or all(getattr(kind, name) is getattr(Precision, name) for name in OF_PRECISION))
        and isinstance(trainer.profiler, PassThroughProfiler)  # type: ignore[attr-defined]  # Lightning sets it without declaring it
        and module.automatic_optimization
        and len(trainer.optimizers) == 1
    )


def _written(owner: object, name: str, base: type) -> Callable[..., object] | None:
    """The hook of ``owner``, or None where it is the base's."""
    found = getattr(owner, name)
    return None if getattr(found, "__func__", None) is getattr(base, name) else found


class WholeUpdate:
    """The closure that ``LightningModule.optimizer_step`` is given: forward and backward of the micro-batch that ``give`` was told last.

    ``update`` is the optimizer's step around it, with clipping between the two.

    Args:
        trainer: of which ``plain_step`` is true.
        progress: where the loop counts what the optimizer was asked.
    """

    def __init__(self, trainer: Trainer, progress: _OptimizerProgress) -> None:
        self.trainer, self.module, self.progress = trainer, trainer.lightning_module, progress
        self.optimizer: Optimizer = trainer.optimizers[0]
        self.output: dict[str, object] = {}  # what hooks are told of the step
        precision = trainer.precision_plugin
        plain = type(precision) is Precision
        self._context: Callable[[], AbstractContextManager[None]] = nullcontext if plain else precision.train_step_context
        self._batch: object = None
        self._batch_idx = 0
        self._callbacks: list[Callback] = []

    def _look(self) -> None:
        """Which hooks there are to call."""
        self._callbacks = list(self.trainer.callbacks)  # type: ignore[attr-defined]  # Lightning sets it without declaring it
        self._of_callbacks = {n: [f for c in self._callbacks if (f := _written(c, n, Callback)) is not None] for n in OF_STEP}
        self._of_module = {n: _written(self.module, n, LightningModule) for n in OF_STEP}
        selector = self.trainer._data_connector._datahook_selector
        assert selector is not None
        self._of_data = [_written(selector.get_instance(n), n, DataHooks) for n in OF_DATA]

    def tell(self, hook: str, *args: object) -> object:
        """Call what is written for a hook: of each callback, then of the module, whose answer it gives."""
        callbacks, own = self._of_callbacks[hook], self._of_module[hook]
        if own is None and not callbacks:
            return None
        module = self.module
        before, module._current_fx_name = module._current_fx_name, hook  # `log` asks which it is
        for call in callbacks:
            call(self.trainer, module, *args)
        answer = None if own is None else own(*args)
        module._current_fx_name = before
        return answer

    def give(self, batch: object, batch_idx: int) -> object:
        """The micro-batch to take next, as the loader has it. Returns it on the run's device and in its precision."""
        if self.trainer.callbacks != self._callbacks:  # type: ignore[attr-defined]  # Lightning sets it without declaring it
            self._look()
        batch = self.trainer.precision_plugin.convert_input(batch)
        before, move, after = self._of_data
        device = self.trainer.strategy.root_device
        batch = batch if before is None else before(batch, 0)
        if move is None and isinstance(batch, MicroBatch):
            batch = batch.to(device)
        else:
            batch = (move or self.module.transfer_batch_to_device)(batch, device, 0)
        self._batch, self._batch_idx, self.output = batch if after is None else after(batch, 0), batch_idx, {}
        return self._batch

    @torch.enable_grad()
    def __call__(self) -> Tensor | None:
        """Forward, gradients set to None before a step's first backward, backward. Returns the loss without its graph."""
        module, accumulate = self.module, self.trainer.accumulate_grad_batches
        before, module._current_fx_name = module._current_fx_name, "training_step"
        with self._context():
            given = module.training_step(self._batch, self._batch_idx)
        module._current_fx_name = before
        if isinstance(given, Tensor) and accumulate == 1:
            loss, extra = given, {}
        else:
            made = ClosureResult.from_training_step_output(given, accumulate)  # type: ignore[arg-type]  # it refuses what it does not take
            loss, extra = made.closure_loss, made.extra
        if self._batch_idx % accumulate == 0:
            self._forget_gradients()
        if loss is None:
            Closure.warning_cache.warn("`training_step` returned `None`. If this was on purpose, ignore this warning...")
            return None
        self.tell("on_before_backward", loss)
        module.backward(loss)
        self.tell("on_after_backward")
        self.output = {"loss": loss.detach(), **extra}
        return loss.detach()

    def _forget_gradients(self) -> None:
        counted = self.progress.zero_grad
        counted.increment_ready()
        self.tell("on_before_zero_grad", self.optimizer)
        counted.increment_started()
        self.module.optimizer_zero_grad(self.trainer.current_epoch, self._batch_idx, self.optimizer)
        counted.increment_completed()

    def update(self) -> None:
        """The optimizer's step, with the rest of it before what the optimizer does with gradients."""
        self.optimizer.step(closure=self._with_clipping)  # type: ignore[arg-type]  # torch says float, and takes any

    def _with_clipping(self) -> Tensor | None:
        loss = self()
        self.tell("on_before_optimizer_step", self.optimizer)
        trainer = self.trainer
        self.module.configure_gradient_clipping(self.optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
        return loss
