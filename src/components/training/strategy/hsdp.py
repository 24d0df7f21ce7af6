"""Hybrid sharding: weights in shards over some devices, and a copy of those shards on every other group of devices.

Zhao et al. 2023 (PyTorch FSDP), arXiv:2304.11277, section 3.2.2
"""

from __future__ import annotations

from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from components.core.errors import UserError
from components.core.registry import register
from components.core.signature import Positive
from components.training.strategy.fsdp2 import FSDP2


@register("strategy", "hsdp")
class HSDP(FSDP2):
    """Data parallel with weights sharded over ``shard_size`` devices, and replicated over the groups of so many.

    Weights are gathered within a group, which a machine's fast links serve; between groups only gradients are summed.

    Args:
        precision: of the run.
        shard_size: devices that hold the weights together; null: those of one machine.
    """

    def __init__(self, precision: str = "32-true", *, shard_size: Positive | None = None) -> None:
        super().__init__(precision)
        self.shard_size = shard_size

    def weights_mesh(self) -> DeviceMesh:
        devices = self.world_size
        size = self.groups_of(devices)
        return init_device_mesh(self.root_device.type, (devices // size, size), mesh_dim_names=("replicas", "shards"))

    def check_layout(self, model: nn.Module, devices: int) -> None:  # noqa: ARG002  any model is sharded
        """UserError if the devices are no whole number of groups."""
        self.groups_of(devices)

    def groups_of(self, devices: int) -> int:
        """How many of ``devices`` hold the weights together."""
        size = self.shard_size or self.num_processes
        if devices % size:
            raise UserError(
                "trainer.strategy.shard_size",
                f"{devices} devices are no whole number of groups of {size}",
                f"take one of {', '.join(str(n) for n in range(1, devices + 1) if devices % n == 0)}",
            )
        return size
