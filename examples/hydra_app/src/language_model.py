"""A LightningModule of one's own around a network of the library."""

from __future__ import annotations

from collections.abc import Callable

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from components.core.weights import Weight, roles


class LanguageModel(L.LightningModule):
    """Predicts the next token.

    Args:
        net: ids (B, T) -> logits (B, T, V).
        optimizer: makes the optimizer of weights with their roles: matrices decay, scales and biases do not.
        schedule: the factor on the learning rate at each step.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[..., torch.optim.Optimizer],
        schedule: Callable[[int], float],
    ) -> None:
        super().__init__()
        self.net, self.optimizer, self.schedule = net, optimizer, schedule

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        ids, targets = batch  # (B, T) each
        return cross_entropy(self.net(ids).flatten(0, 1), targets.flatten())

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> dict[str, object]:
        weights: list[Weight] = list(roles(self.net))
        optimizer = self.optimizer(weights=weights)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
