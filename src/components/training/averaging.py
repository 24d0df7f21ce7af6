"""Optimizers that average weights: the average is validated, sampled from and saved, while training goes on with its own weights.

``optimizer.eval()`` and ``optimizer.train()`` swap the two. The optimizer's state says which of them the model holds, so a checkpoint of
averaged weights resumes exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, cast

from lightning.pytorch import LightningModule
from torch import nn
from torch.distributed.fsdp import FSDPModule

from components.parts.optimizer._nested import averaging


class Averaging(Protocol):
    """An optimizer that averages weights."""

    def eval(self) -> object: ...
    def train(self) -> object: ...


class Averaged:
    """Hooks for a LightningModule with a ``model`` and one optimizer. At the end Lightning calls a module's hook after those of callbacks."""

    holds_average = False

    def put_average(self, *, on: bool) -> None:
        """Put the averaged weights into the model (``on``), or the trained ones back."""
        optimizer = averaging_of(self)
        if optimizer is None or on == self.holds_average:
            return
        optimizer.eval() if on else optimizer.train()
        self.holds_average = on
        forget_gathered(self.model)  # type: ignore[attr-defined]

    def on_train_start(self) -> None:
        # a checkpoint that was written during validation holds the average as the model's weights
        self.holds_average = True
        self.put_average(on=False)

    def on_validation_start(self) -> None:
        self.put_average(on=True)

    def on_validation_end(self) -> None:
        if self.trainer.state.fn == "fit":  # type: ignore[attr-defined]
            self.put_average(on=False)

    def on_train_end(self) -> None:
        """Leave the module with the weights that its checkpoint has."""
        self.put_average(on=True)


@contextmanager
def averaged(module: object) -> Iterator[None]:
    """Inside the block the model holds the averaged weights, if its optimizer has any."""
    if not isinstance(module, Averaged) or module.holds_average:
        yield
        return
    module.put_average(on=True)
    try:
        yield
    finally:
        module.put_average(on=False)


def averaging_of(module: Averaged) -> Averaging | None:
    """The optimizer that averages weights, alone or inside another; None if there is none."""
    trainer = cast(LightningModule, module)._trainer
    optimizers = trainer.optimizers if trainer is not None else []
    return cast("Averaging | None", averaging(optimizers[0])) if optimizers else None


def forget_gathered(model: nn.Module) -> None:
    """FSDP2 keeps the gathered weights of the root after a forward pass without a backward pass; the next pass would use those from before
    the swap."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
