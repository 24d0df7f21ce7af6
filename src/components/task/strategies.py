"""How the work is laid out on devices: ``fsdp2`` on any device, each Layer a shard unit of its own, and what a run must refuse.

Lightning's own ``fsdp`` is FSDP1 and needs a GPU; this one is ``fully_shard``, which runs on gloo as well.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from components.errors import UserError
from components.sockets import Layer


class FSDP2(ModelParallelStrategy):
    """Data parallel over all devices, parameters, gradients and optimizer state sharded; checkpoints are one ordinary file.

    Args:
        compute: dtype in which parameters are gathered and multiplied, or None for their own.
    """

    def __init__(self, compute: torch.dtype | None = None) -> None:
        super().__init__(data_parallel_size="auto", tensor_parallel_size=1, save_distributed_checkpoint=False)
        self.compute = compute

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def shard(self, model: nn.Module) -> None:
        """Each Layer, then the rest with the root."""
        # SequenceInfo carries fp32 tables and positions: casting the inputs of forwards would round them
        policy = MixedPrecisionPolicy(param_dtype=self.compute, reduce_dtype=torch.float32, cast_forward_inputs=False)
        mesh = self.device_mesh["data_parallel"]
        for module in model.modules():
            if isinstance(module, Layer):
                fully_shard(module, mesh=mesh, mp_policy=policy)
        fully_shard(model, mesh=mesh, mp_policy=policy)


def strategy_of(name: Any, precision: str) -> tuple[Any, str]:
    """What Lightning's Trainer gets as (strategy, precision). Under fsdp2 bf16-mixed is the shards' policy, not autocast: one of the two."""
    if name == "fsdp2":
        return (FSDP2(torch.bfloat16), "32-true") if precision in ("bf16-mixed", "bf16") else (FSDP2(), precision)
    if isinstance(name, str) and name.startswith("fsdp"):
        raise UserError("trainer.strategy", f"{name!r} is FSDP1, which is not supported", "use trainer.strategy=fsdp2")
    return name, precision


def data_ranks(trainer: Trainer) -> tuple[int, int]:
    """(rank, size) among those that read different data."""
    strategy: Strategy = trainer.strategy
    if isinstance(strategy, ModelParallelStrategy):
        mesh = strategy.device_mesh["data_parallel"]
        return mesh.get_local_rank(), mesh.size()
    return trainer.global_rank, trainer.world_size


def check_hardware(settings: dict[str, Any]) -> None:
    """Refuse what would train wrongly or hang: fp16 without a scaler or on a CPU, and a launcher that started another number of processes."""
    precision = str(settings.get("precision") or "32-true")
    on_cpu = settings.get("accelerator") == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if precision == "16-true":
        raise UserError(
            "trainer.precision",
            "16-true overflows within a few steps: Adam's eps underflows in fp16",
            "use bf16-mixed or bf16-true",
        )
    if precision in ("16", "16-mixed") and on_cpu:
        raise UserError(
            "trainer.precision",
            f"{precision} needs a GPU; on a CPU Lightning would silently take bfloat16",
            "use bf16-mixed or 32-true",
        )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    asked = processes(settings)
    if started not in (1, asked):
        raise UserError(
            "trainer.devices",
            f"the launcher started {started} processes (WORLD_SIZE), and devices x num_nodes is {asked}",
            f"set trainer.devices={started // int(settings.get('num_nodes') or 1)}, or start without the launcher",
        )


def processes(settings: dict[str, Any]) -> int:
    """devices x num_nodes, with what ``auto`` means on this machine."""
    devices, nodes = settings.get("devices") or "auto", int(settings.get("num_nodes") or 1)
    if devices in ("auto", -1, "-1"):
        devices = torch.cuda.device_count() if torch.cuda.is_available() and settings.get("accelerator") != "cpu" else 1
    return (len(devices) if isinstance(devices, (list, tuple)) else int(devices)) * nodes
