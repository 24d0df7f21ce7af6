"""One optimizer step: whether there is one, what its gradients are clipped to, and what parts do after it."""

# ruff: noqa: ARG002  Lightning's hooks have fixed arguments
from __future__ import annotations

from typing import Any

from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from components.core.collectives import Sums
from components.core.errors import UserError
from components.core.weight_names import first_few
from components.corpus.steps import MicroBatch
from components.parts.optimizer._nested import tell_norm
from components.training.clipping import clip_gradients, clip_values


class Stepping:
    """Hooks of a LightningModule around ``optimizer.step``.

    A step whose rows ask for nothing at all (no target, or weights of 0) is no step: the optimizer is not called, so that neither weight
    decay nor momentum moves a weight, and no average or count of steps goes on. It counts as a step of the schedule, so that a run reads
    what it would read anyhow. The data side has counted the targets of the whole step, so all micro-batches and ranks know it before
    they begin, without asking the device.
    """

    idle = False  # the step at hand asks for nothing
    unread: tuple[str, ...] | None = None  # weights that had no gradient in the first step, once it is taken
    grad_norm: Tensor | None = None  # of the last step, before it was clipped

    def begin_stepping(self) -> None:
        self.stats: dict[str, Tensor] = {}
        self._stats_over = Sums(steady=True)
        self.last_stats: dict[str, Tensor] = {}  # of the last optimizer step, over all ranks
        self._weights: list[nn.Parameter] = []
        self._followers: list[Any] = []

    def follow(self, model: nn.Module) -> None:
        """Remember what is walked over at each step: a walk over all modules costs more than a small step."""
        self._weights = list(model.parameters())
        self._followers = [m for m in model.modules() if callable(getattr(m, "after_step", None))]

    def on_train_batch_start(self, batch: MicroBatch, batch_idx: int) -> None:
        self.idle = not batch.asked

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        if self.idle:
            # what Lightning and the ranks wait for; returning None from training_step is refused where there are several
            optimizer_closure()
            self.grad_norm, self.last_stats = None, {}
            return
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)  # type: ignore[misc]
        if self.unread is None:
            self.unread = self._without_gradient()
        self.after_optimizer_step()

    def after_optimizer_step(self) -> None:
        """Give the parts that follow the optimizer what layers counted in the step, over all ranks."""
        if self.stats or self._followers or self._stats_over.pending:
            stats = self._stats_over(self.stats)
            for part in self._followers:
                part.after_step(stats)
            self.last_stats, self.stats = stats, {}

    def _without_gradient(self) -> tuple[str, ...]:
        """Names of weights that are to be trained and have none.

        Raises:
            UserError: there are such, and ranks would wait for their gradients.
        """
        model: nn.Module = self.model  # type: ignore[assignment]
        found = tuple(n for n, p in model.named_parameters() if p.requires_grad and p.grad is None)
        if found and isinstance(self.trainer.strategy, DDPStrategy):  # type: ignore[attr-defined]
            raise UserError(
                "trainer.strategy",
                f"nothing reads {first_few(list(found))}, and under ddp each rank waits for the gradient of every weight",
                "leave out the part that has them, or freeze them: tuning=frozen",
            )
        return found

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        if not gradient_clip_val:
            return
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)  # type: ignore[attr-defined]
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            # a fused optimizer would divide by the scale in its own step, after the clipping; the scaler notes that it is done already
            scaler.unscale_(optimizer)
        if gradient_clip_algorithm == "value":
            clip_values(self._weights, float(gradient_clip_val))
        else:
            self.grad_norm = clip_gradients(self._weights, float(gradient_clip_val))
            tell_norm(optimizer, self.grad_norm)
