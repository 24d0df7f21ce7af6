"""Tensor parallelism within groups of devices, and data parallelism with sharded weights over the groups."""

from __future__ import annotations

import logging

from torch import nn

from components.core.errors import UserError
from components.core.registry import register
from components.core.signature import Positive
from components.training.strategy._pieces import pieces_of
from components.training.strategy._tensor import hold_together
from components.training.strategy.fsdp2 import FSDP2


@register("strategy", "fsdp2_tp")
class FSDP2TensorParallel(FSDP2):
    """Groups of ``tensor_size`` devices hold each layer together, as ``tp``; each piece is sharded over the groups, which read different rows, as ``fsdp2``.

    Args:
        precision: of the run.
        tensor_size: devices of a group, best those that fast links join.
        expert_parallel: experts of mixtures are dealt out over the devices that hold a layer together; false: each expert's width is cut.
        sequence_parallel: norms and the stream of a layer are computed for a share of the positions by each device that holds it; false: for all by each.
            With ``expert_parallel`` tokens are sent to their experts where that is less than each device's reading all positions.
    """

    def __init__(
        self,
        precision: str = "32-true",
        *,
        tensor_size: Positive = 2,
        expert_parallel: bool = False,
        sequence_parallel: bool = False,
    ) -> None:
        super().__init__(precision)
        self.tensor_size = tensor_size
        self.dealt = {"expert_parallel": expert_parallel, "sequence_parallel": sequence_parallel}

    def tensor_devices(self, devices: int) -> int:
        if devices % self.tensor_size:
            raise UserError(
                "trainer.strategy.tensor_size",
                f"{devices} devices are no whole number of groups of {self.tensor_size}",
                f"take one of {', '.join(str(n) for n in range(1, devices + 1) if devices % n == 0)}",
            )
        return self.tensor_size

    def check_layout(self, model: nn.Module, devices: int) -> None:
        """UserError if a part cannot be cut into as many pieces as devices hold a layer together."""
        pieces_of(model, self.tensor_devices(devices), **self.dealt)

    def setup_environment(self) -> None:
        super().setup_environment()
        # it warns every rank of a run that a checkpoint is gathered over one dimension after the other, which nobody can change
        logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)

    def shard(self, model: nn.Module) -> None:
        hold_together(model, self.device_mesh["tensor_parallel"], **self.dealt)
        super().shard(model)
