"""How large gradients, weights and activations are, layer by layer: what to look at when a loss jumps or a layer learns nothing."""

# ruff: noqa: ARG001, ARG002  hooks have fixed arguments
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from components.core.collectives import Sums
from components.core.errors import UserError
from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import Layer
from components.functional.precision import widest
from components.runs.task_module import TaskModule
from components.training.callback_group import members_of
from components.training.clipping import total_norm
from components.training.progress import Recorder


@register("callback", "norms")
class Norms(Callback):
    """Norms of each layer, and of what stands outside of layers (``embedding``, ``head``), in metrics.csv and every logger.

    ``norm/gradient/stack.layers.0`` is the 2-norm of the layer's gradient over the whole step, before it is clipped; ``norm/weight/...`` that of the
    weights that it belongs to; ``norm/activation/...`` the root mean square of a number of what the layer gives, over all tokens of the step. They are
    those of all micro-batches and ranks, whatever the strategy. Steps between cost nothing.

    Args:
        every: steps from one measurement to the next; null: trainer.log_every_n_steps.
        gradients: measure gradients.
        weights: measure weights.
        activations: measure activations.
    """

    def __init__(
        self, *, every: Positive | None = None, gradients: bool = True, weights: bool = True, activations: bool = True
    ) -> None:
        self.every, self.gradients, self.weights, self.activations = every, gradients, weights, activations
        self.row: dict[str, float] = {}
        self._sums: dict[str, Tensor] = {}  # (sum of squares, numbers) of what each layer gave
        self._over = Sums()
        self._hooks: list[RemovableHandle] = []
        self._recorder: Recorder | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """UserError where layers are compiled: what they give cannot be seen."""
        task = cast(TaskModule, pl_module)
        if self.activations and (task.config.get("task") or {}).get("compile") == "layers":
            where, instead = "callbacks.norms.activations", "set it to false, or task.compile=none"
            raise UserError(where, "task.compile=layers shows nothing of what a layer gives", instead)
        callbacks = members_of(trainer.callbacks)  # type: ignore[attr-defined]  # Lightning sets it without declaring it
        self._recorder = next((c for c in callbacks if isinstance(c, Recorder)), None)
        self._period: int = self.every or trainer.log_every_n_steps or 1  # type: ignore[attr-defined]  # as above
        self._units = units(task.model)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        if self.activations and not self._hooks and (trainer.global_step + 1) % self._period == 0:
            self._sums = {}
            modules = cast(TaskModule, pl_module).model
            for name in self._units:
                self._hooks.append(modules.get_submodule(name).register_forward_hook(self._watch(name)))

    def _watch(self, name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        @torch.no_grad()
        def see(module: nn.Module, given: tuple[object, ...], out: object) -> None:
            first = out[0] if isinstance(out, tuple) else out
            if not isinstance(first, Tensor) or not first.is_floating_point():
                return
            size = torch.tensor(float(first.numel()), dtype=widest(first.device), device=first.device)
            pair = torch.stack([first.detach().to(widest(first.device)).square().sum(), size])
            self._sums[name] = self._sums[name] + pair if name in self._sums else pair

        return see

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """All micro-batches are through, and nothing is clipped yet."""
        if (trainer.global_step + 1) % self._period:
            return
        self.row = {}
        for name, weights in self._units.items():
            if self.gradients:
                self._put("gradient", name, total_norm(p.grad for p in weights))
            if self.weights:
                self._put("weight", name, total_norm(weights))
        if self.activations:
            for name, (squares, size) in ((n, pair.tolist()) for n, pair in self._over(self._sums).items()):
                self.row[f"norm/activation/{name}"] = (squares / size) ** 0.5

    def _put(self, what: str, name: str, norm: Tensor | None) -> None:
        if norm is not None:
            self.row[f"norm/{what}/{name}"] = float(norm)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if self._hooks and trainer.global_step % self._period == 0:
            self._let_go()
        if not self.row:
            return
        row, self.row = self.row, {}
        if self._recorder is not None:
            self._recorder.give(trainer, trainer.global_step, {}, row)
            return
        for logger in trainer.loggers:
            logger.log_metrics(row, step=trainer.global_step)

    def _let_go(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._sums = [], {}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._let_go()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._let_go()


def units(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """{path: weights} of each layer, and of the highest module without layers around every other weight. A weight counts once."""
    layers = [path for path, module in model.named_modules() if isinstance(module, Layer)]
    found: dict[str, list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        found.setdefault(_unit_of(name, layers), []).append(weight)
    return {path: weights for path, weights in found.items() if path}


def _unit_of(weight: str, layers: Iterable[str]) -> str:
    inside = [path for path in layers if weight.startswith(f"{path}.")]
    if inside:
        return max(inside, key=len)
    words = weight.split(".")[:-1]
    shared = {path[: len(prefix)] for path in layers for prefix in (".".join(words[:i]) for i in range(1, len(words) + 1))}
    for i in range(1, len(words) + 1):
        path = ".".join(words[:i])
        if path not in shared:
            return path
    return ".".join(words)
