"""Fully sharded data parallel, the second: on any device, each Layer a shard unit of its own.

Lightning's own ``fsdp`` is FSDP1 and needs a GPU; this one is ``fully_shard``, which runs on gloo as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import DoublePrecision
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed import distributed_c10d
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from components.core.collectives import read_apart
from components.core.registry import register
from components.core.sockets import Layer
from components.training.float8 import multiply_in_float8
from components.training.optimizer_state import load_whole
from components.training.strategy._saved import Saved


@register("strategy", "fsdp2")
class FSDP2(Saved, ModelParallelStrategy):
    """Data parallel over all devices with weights, gradients and optimizer state sharded.

    Under bf16-mixed, bf16 is what the shards are gathered and multiplied in: it is the shards' policy, not autocast, one of the two. Under fp8-mixed
    they are gathered in bf16 as well, and linear maps of layers round to fp8 then.

    Args:
        precision: of the run.
    """

    shards_weights = True

    def __init__(self, precision: str = "32-true") -> None:
        self.check_saving()
        super().__init__(data_parallel_size="auto", tensor_parallel_size=1, save_distributed_checkpoint=self.sharded)
        self.float8 = precision == "fp8-mixed"
        mixed = precision in ("bf16-mixed", "bf16") or self.float8
        self.compute = torch.bfloat16 if mixed else None
        self.double = precision in ("64-true", "64")  # which Lightning refuses beside a strategy of this class
        self.left_to_trainer = "32-true" if mixed or self.double else precision

    def setup_environment(self) -> None:
        assert self._timeout is not None  # Lightning's own, since none was given
        devices = self.num_nodes * self.num_processes
        self._tensor_parallel_size = self.tensor_devices(devices)
        self._data_parallel_size = devices // self._tensor_parallel_size
        if self.double:
            self.precision_plugin = DoublePrecision()
        super().setup_environment()
        if self._tensor_parallel_size > 1:
            read_apart(self.device_mesh["data_parallel"].get_group())
        if self.sharded:
            self.open_group(self._timeout)
        self.mesh = self.weights_mesh()
        for mesh in (self.device_mesh, self.mesh):
            for name in mesh.mesh_dim_names or ():  # groups of a mesh have torch's own time-out otherwise
                distributed_c10d._set_pg_timeout(self._timeout, mesh.get_group(name))

    def teardown(self) -> None:
        read_apart(None)
        super().teardown()

    def tensor_devices(self, devices: int) -> int:  # noqa: ARG002  for who inherits
        """How many of ``devices`` hold each layer together, and read the same rows."""
        return 1

    def weights_mesh(self) -> DeviceMesh:
        """The devices that each weight is laid out over."""
        return self.device_mesh["data_parallel"]

    def data_ranks(self) -> tuple[int, int]:
        mesh = self.device_mesh["data_parallel"]
        return mesh.get_local_rank(), mesh.size()

    def shard(self, model: nn.Module) -> None:
        """Each Layer, then the rest with the root."""
        if self.float8:
            multiply_in_float8(model)
        # SequenceInfo carries fp32 tables and positions: casting the inputs of forwards would round them
        policy = MixedPrecisionPolicy(
            param_dtype=self.compute, reduce_dtype=None if self.double else torch.float32, cast_forward_inputs=False
        )
        for module in model.modules():
            if isinstance(module, Layer):
                fully_shard(module, mesh=self.mesh, mp_policy=policy)
        fully_shard(model, mesh=self.mesh, mp_policy=policy)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Weights and optimizer state, of whatever layout wrote them; returns the rest."""
        path = Path(self.broadcast(checkpoint_path))
        if path.is_dir():
            return self.load_folder(path, self.optimizers)
        optimizers, self.optimizers = self.optimizers, []  # Lightning would number their state as it never does without shards
        try:
            checkpoint = super().load_checkpoint(path, weights_only=weights_only)
        finally:
            self.optimizers = optimizers
        assert self.model is not None
        for optimizer, state in zip(optimizers, checkpoint.get("optimizer_states", ())):
            load_whole(self.model, optimizer, state)
        return checkpoint
