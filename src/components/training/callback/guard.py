"""A step whose loss or gradient is no number, or far larger than those before it: reported, and left out before it changes anything.

Chowdhery et al. 2022, arXiv:2204.02311, section 5.1 (going back to a checkpoint and past the batches that were seen around a spike)
"""

# ruff: noqa: ARG002  Lightning's hooks have fixed arguments
from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Mapping
from typing import Literal, TypedDict, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from components.core.collectives import begin_sum, several
from components.core.errors import UserError
from components.core.registry import register
from components.core.signature import Positive
from components.corpus.steps import MicroBatch
from components.training.fault_report import described, tell
from components.training.rewinding import last_checkpoint, rewind
from components.training.stepping import Stepping
from components.training.task._training import Training

OVERFLOWS = 20  # steps that a loss scale may overflow in one after another: it has become a million times smaller by then
LEFT = "lower optimizer.lr, warm up longer, or set callbacks.guard.on_fault=skip"


class State(TypedDict):
    """What a checkpoint has of it."""

    faults: int
    rewinds: int
    losses: list[float]
    norms: list[float]


@register("callback", "guard")
class Guard(Callback):
    """Looks at each step's loss and gradient before the optimizer does: one that is no number, or a spike, changes no weight.

    The report names the step, the first part that made a number that is not finite, and the rows of the data. All ranks decide alike: by the
    gradient's norm, which they share. On an accelerator this waits for the device once per step. Where a loss is scaled (``16-mixed``), a
    gradient that overflows is the scaler's, and no fault.

    Args:
        on_fault: ``stop`` ends the run; ``skip`` leaves the step out, and data and schedule go on; ``rewind`` also goes back to the weights and the
            optimizer's state of the last checkpoint, and on with the data after the step.
        spike: how many times the median of the last steps the loss or the gradient's norm must be; null: only what is not finite is a fault.
        window: steps of the median; nothing is a spike before a quarter of them are known.
        limit: faults that a run may have; the next one ends it, whatever ``on_fault`` says.

    Raises:
        UserError: the module is no task of this library, or there are no checkpoints to go back to.
    """

    def __init__(
        self,
        *,
        on_fault: Literal["stop", "skip", "rewind"] = "stop",
        spike: float | None = None,
        window: Positive = 100,
        limit: Positive = 10,
    ) -> None:
        if spike is not None and not spike > 1:
            raise UserError(
                "callbacks.guard.spike", f"{spike} times the median is no spike", "give a factor above 1, such as 5"
            )
        self.on_fault, self.spike, self.window, self.limit = on_fault, spike, window, limit
        self.losses, self.norms = deque[float](maxlen=window), deque[float](maxlen=window)
        self.faults = self.rewinds = self._overflows = 0
        self._what = ""
        self._items: list[MicroBatch] = []  # of the step
        self._sums: dict[str, Tensor] = {}  # of the losses, before the step
        self._loss: Tensor | None = None  # of the step so far, on this rank
        self._total: Callable[[], Tensor] | None = None  # and over all ranks
        self._at: tuple[Trainer, Training] | None = None

    def state_dict(self) -> dict[str, object]:
        kept = {"losses": list(self.losses), "norms": list(self.norms)}
        return {"faults": self.faults, "rewinds": self.rewinds, **kept}

    def load_state_dict(self, state_dict: Mapping[str, object]) -> None:
        state = cast(State, state_dict)
        self.faults, self.rewinds = state["faults"], state["rewinds"]
        self.losses, self.norms = (deque(seen, maxlen=self.window) for seen in (state["losses"], state["norms"]))

    # -- what it sees of a step ------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, Stepping):
            raise UserError("callbacks.guard", f"{type(pl_module).__name__} is no task of components", "guard one of its tasks")
        if self.on_fault == "rewind":
            last_checkpoint(trainer, there=False)
        self._at = trainer, cast(Training, pl_module)
        pl_module.guard = self
        self._count()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        cast(Training, pl_module).guard = self._at = None
        self._items, self._sums = [], {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: MicroBatch, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            task = cast(Training, pl_module)
            self._items, self._loss, self._total, self._sums = [], None, None, dict(task.train_sums)
        self._items.append(batch)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        loss = loss.detach()
        self._loss = loss if self._loss is None else self._loss + loss
        shared = self.spike is not None or cast(Training, pl_module).scaler() is not None
        if several() and shared and len(self._items) == trainer.accumulate_grad_batches:
            self._total = begin_sum(self._loss / trainer.world_size)  # while the backward pass runs

    # -- what it says of it ----------------------------------------------------------------------------------------------

    def finds_fault(self, norm: Tensor | None, scaler: torch.amp.GradScaler | None, /) -> bool:
        """Whether the step must not be taken. ``norm``: of its gradients, before they were clipped."""
        loss = self._total() if self._total is not None else None if several() else self._loss
        if norm is None:
            return False
        seen = norm if loss is None else loss
        if scaler is not None:
            seen = seen / scaler.scale(torch.ones_like(seen))
        length, value = torch.stack([norm.to(seen), seen]).tolist()  # the one place that waits for a device
        self._what = self._fault(length, None if loss is None else value, scaled=scaler is not None)
        if not self._what and math.isfinite(length):
            self.norms.append(length)
            if loss is not None:
                self.losses.append(value)
        return bool(self._what)

    def _fault(self, norm: float, loss: float | None, *, scaled: bool) -> str:
        """What is wrong, in words; empty if nothing is."""
        if loss is not None and not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            self._overflows += 1
            if scaled and self._overflows <= OVERFLOWS:
                return ""  # the scaler's, which takes a smaller scale
            return f"the gradient's norm is {norm}"
        self._overflows = 0
        if self.spike is None:
            return ""
        for name, value, before in (("loss", loss, self.losses), ("gradient's norm", norm, self.norms)):
            if value is None or len(before) < max(1, self.window // 4):
                continue
            if value > self.spike * (median := statistics.median(before)):
                return f"the {name} is {value:.4g}, {value / median:.3g} times the median of the last {len(before)} steps"
        return ""

    def leave_out(self) -> None:
        """Report the fault, and stop, go on or go back as ``on_fault`` says. All ranks come here together."""
        assert self._at is not None
        trainer, task = self._at
        step = trainer.global_step + 1
        self.faults += 1
        said = described(trainer, task, self._items, spike="times the median" in self._what)
        fault = f"{self._what} at step {step}{said}"
        if self.on_fault == "stop":
            raise UserError("training", fault, LEFT)
        if self.faults > self.limit:
            raise UserError(
                "training", f"{fault}; it is fault {self.faults} of the run", "callbacks.guard.limit says how many may be"
            )
        done = "left out"
        if self.on_fault == "rewind":
            self.rewinds += 1
            back = rewind(trainer, task, fault)
            done = f"gone back to the weights of step {back}, on with the data of step {step + 1}"
        task.train_sums = self._sums
        task.zero_grad()
        self._count()
        tell(trainer, f"step {step}  {self._what}{said}: {done}")

    def _count(self) -> None:
        assert self._at is not None
        rewinds = {"rewinds": self.rewinds} if self.on_fault == "rewind" else {}
        self._at[1].faults = {"faults": self.faults, **rewinds} if self.on_fault != "stop" else {}
