"""Context parallelism: each device has a stretch of every row; attention gathers the keys and values of the stretches before it, states are handed on."""

from __future__ import annotations

from torch import nn

from components.core.abilities import Needs, TakesModel
from components.core.contracts import Loss
from components.core.errors import UserError
from components.core.registry import register
from components.core.signature import Positive
from components.training.strategy._context import Stretches, check_rows
from components.training.strategy._pieces import Pieces
from components.training.strategy._tensor import lay_out
from components.training.strategy.fsdp2 import FSDP2


@register("strategy", "cp")
class ContextParallel(FSDP2):
    """Context parallel: groups of devices share each row, a stretch for each device; groups read different rows, and shard weights as ``fsdp2``.

    For rows that are too long for one device: activations are those of a stretch. Attention reads the keys and values of all stretches before its
    own, a recurrence goes on from the state that the device before has left. Encoders, mixtures of experts and losses that look beyond a position are
    refused. Checkpoints are one ordinary file.

    Args:
        precision: of the run.
        context_size: devices that share a row; null: all.
    """

    def __init__(self, precision: str = "32-true", *, context_size: Positive | None = None) -> None:
        super().__init__(precision)
        self.context_size = context_size

    def tensor_devices(self, devices: int) -> int:
        size = self.context_size or devices
        if devices % size:
            raise UserError(
                "trainer.strategy.context_size",
                f"{devices} devices are no whole number of groups of {size}",
                f"take one of {', '.join(str(n) for n in range(1, devices + 1) if devices % n == 0)}",
            )
        return size

    def check_layout(self, model: nn.Module, devices: int) -> None:
        """UserError if a part of the model cannot work on a stretch of a row."""
        check_rows(model, self.tensor_devices(devices))

    def check_loss(self, loss: Loss) -> None:
        """UserError if the loss reads more of a row than a position's own vector and target."""
        ahead = isinstance(loss, Needs) and "ahead" in loss.needs.get("head", ())
        if ahead or isinstance(loss, TakesModel):
            what = f"{type(loss).__name__} looks beyond a position, and a device has a stretch of a row"
            raise UserError("loss", what, "take another loss, or another strategy")

    def shard(self, model: nn.Module) -> None:
        mesh = self.device_mesh["tensor_parallel"]
        lay_out(model, mesh, Pieces(within={id(p) for p in model.parameters()}))
        Stretches(model, mesh.get_group())
        super().shard(model)
