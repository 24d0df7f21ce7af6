"""One optimizer step: whether it is taken, how its gradients are clipped, and what parts do after it."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins import FSDPPrecision, MixedPrecision
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from components.core.abilities import TakesTurns
from components.core.collectives import Sums, begin_sum
from components.core.draws import DRAWS, drawn_for
from components.core.errors import UserError
from components.core.sockets import Terms
from components.core.traits import has_after_step, turns_of
from components.core.weight_names import first_few
from components.corpus.steps import LoneMicroBatch, MicroBatch
from components.parts.optimizer._nested import tell_norm
from components.training.clipping import clip_gradients, clip_values, total_norm
from components.training.whole_update import WholeUpdate

NOTES = frozenset({"_current_fx_name", "idle", "grad_norm"})  # attributes of each step that are neither weights nor modules


class LeftOut(Exception):
    """The gradients of a step are not to change anything: raised between the backward pass and the optimizer's update."""


class Guards(Protocol):
    """What looks at each step's gradients before they are taken. It says the same on all ranks."""

    def finds_fault(self, norm: Tensor | None, scaler: torch.amp.GradScaler | None, /) -> bool: ...
    def leave_out(self) -> None: ...


class Stepping:
    """Hooks of a LightningModule around ``optimizer.step``.

    If the rows of a step have no target at all (or only weights of 0), the optimizer is not called: neither weight decay nor momentum moves a
    weight, and no average or step count of the optimizer advances. The schedule counts the step, so a run reads the same rows as otherwise. The
    data side has counted the targets of this rank's rows of the step. Ranks add them up while the model reads the first micro-batch; only a rank
    that has none itself must look at the sum.
    """

    idle = False  # the current step has no target
    unread: tuple[str, ...] | None = None  # weights without a gradient in the first step; None before it
    grad_norm: Tensor | None = None  # of the last step, before clipping
    guard: Guards | None = None  # asked before each update, where a callback is one
    _draws = True  # whether the model has drawn anything in its first step
    faults: dict[str, int] = {}  # what it counts, for the run's figures; it sets another one

    # Lightning asks some ten times a step; this way no Python function runs
    automatic_optimization = property(attrgetter("_automatic_optimization"), LightningModule.automatic_optimization.fset)

    def __setattr__(self, name: str, value: Any) -> None:
        """Lightning notes the hook that runs some fifty times a step. Module's own way looks for weights and modules first, and takes ten times as long."""
        if name in NOTES:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def begin_stepping(self) -> None:
        self.stats: dict[str, Tensor] = {}
        self._stats_over = Sums(steady=True)
        self._totals: Callable[[], Tensor] | None = None  # of the current step, over all ranks
        self.last_stats: dict[str, Tensor] = {}  # those of the last optimizer step, over all ranks
        self._weights: list[nn.Parameter] = []
        self._followers: list[Any] = []
        self._turns: list[TakesTurns] = []

    def follow(self, model: nn.Module) -> None:
        """Remember parameters and parts that each step visits. Walking over all modules would cost more than a small step."""
        self._weights = list(model.parameters())
        self._followers = [m for m in model.modules() if has_after_step(m)]
        self._turns = turns_of(model)

    def on_train_batch_start(self, batch: MicroBatch, batch_idx: int) -> None:
        begins = self.begins_step(batch_idx)  # type: ignore[attr-defined]  # `Taking` has it, which every task is too
        if isinstance(batch, LoneMicroBatch):
            self.idle = not batch.asked and (begins or self.idle)  # no micro-batch of the step has a target
        elif batch.whole:
            self.idle = not batch.asked
        elif batch.first or self._totals is None:
            self._totals = begin_sum(batch.totals)
            self.idle = not (batch.asked or bool(self._totals()[0] != 0))

    def step_totals(self, item: MicroBatch) -> Tensor:
        """(targets, tokens) of the whole step that the micro-batch is part of, over all ranks."""
        return item.totals if item.whole or self._totals is None else self._totals()

    def learned_from(self, item: MicroBatch) -> Terms:
        """What the model says of a micro-batch in training: sums and weights of its losses. Dropout draws by samples where it is known which they are."""
        task: Any = self
        if self._turns and (step := task.step_of(item)) is not None:
            for part in self._turns:
                part.begin_step(task.config["seed"], step)
        by_sample = self._draws and task.dropout_by == "sample"
        with drawn_for(task.config["seed"], item.samples if by_sample else None) as begun:
            terms = task.whole(item.batch, task.objective)
            if begun is not None and DRAWS.keys is begun:
                # a model without dropout, which need not be asked in each step, unless others of its parts have their turn in the next
                self._draws = bool(self._turns)
        return terms

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """What torch does, without what its profiler asks for each time."""
        del epoch, batch_idx
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = None

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        if self.idle:
            # Lightning and other ranks wait for it; with several ranks training_step must not return None
            if optimizer_closure is not None:
                optimizer_closure()
            self.grad_norm, self.last_stats = None, {}
            return
        try:
            if isinstance(optimizer_closure, WholeUpdate):
                optimizer_closure.update()
            else:
                super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)  # type: ignore[misc]  # a LightningModule's
        except LeftOut:
            self._leave_out()
            return
        if self.unread is None:
            self.unread = self._without_gradient()
        self.after_optimizer_step()

    def _leave_out(self) -> None:
        """The step has been refused before the optimizer has begun: the schedule and the data go on as after any other."""
        assert self.guard is not None
        if (scaler := self.scaler()) is not None:
            scaler.update()  # it has divided by its scale, and would refuse to do so again
        self.grad_norm, self.last_stats, self.stats = None, {}, {}
        self.guard.leave_out()

    def scaler(self) -> torch.amp.GradScaler | None:
        plugin = self.trainer.precision_plugin  # type: ignore[attr-defined]
        return plugin.scaler if isinstance(plugin, (MixedPrecision, FSDPPrecision)) else None

    def after_optimizer_step(self) -> None:
        """Pass the statistics of the step, over all ranks, to parts with ``after_step``."""
        if self.stats or self._followers or self._stats_over.pending:
            stats = self._stats_over(self.stats)
            for part in self._followers:
                part.after_step(stats)
            self.last_stats, self.stats = stats, {}

    def _without_gradient(self) -> tuple[str, ...]:
        """Names of trained weights that have no gradient.

        Raises:
            UserError: there are some, and DDP would wait for their gradients.
        """
        model: nn.Module = self.model  # type: ignore[assignment]
        resting = {
            id(p) for part in turns_of(model) for m in part.in_turn() for p in m.parameters()
        }  # it may not be their turn
        found = tuple(n for n, p in model.named_parameters() if p.requires_grad and p.grad is None and id(p) not in resting)
        if found and isinstance(self.trainer.strategy, DDPStrategy):  # type: ignore[attr-defined]
            raise UserError(
                "trainer.strategy",
                f"nothing reads {first_few(list(found))}, and under ddp each rank waits for the gradient of every weight",
                "leave out the part that has them, or freeze them: tuning=frozen",
            )
        return found

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        if not gradient_clip_val and self.guard is None:
            return
        scaler = self.scaler()
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            # a fused optimizer would unscale in its own step, after clipping; the scaler notes that this is done
            scaler.unscale_(optimizer)
        by_norm = bool(gradient_clip_val) and gradient_clip_algorithm != "value"
        norm = clip_gradients(self._weights, float(gradient_clip_val or 0.0)) if by_norm else None
        if self.guard is not None:
            seen = norm if by_norm else total_norm(p.grad for p in self._weights)
            if self.guard.finds_fault(seen, scaler):
                raise LeftOut
        if by_norm:
            self.grad_norm = norm
            tell_norm(optimizer, norm)
        elif gradient_clip_val:
            clip_values(self._weights, float(gradient_clip_val))
