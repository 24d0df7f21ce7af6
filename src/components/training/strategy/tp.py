"""Tensor parallelism: each matrix of a layer is cut over all devices, which compute its pieces at once.

Shoeybi et al. 2019 (Megatron-LM), arXiv:1909.08053
"""

from __future__ import annotations

from torch import nn

from components.core.registry import register
from components.training.strategy._pieces import pieces_of
from components.training.strategy._tensor import hold_together
from components.training.strategy.fsdp2 import FSDP2


@register("strategy", "tp")
class TensorParallel(FSDP2):
    """Tensor parallel: all devices hold each layer together and read the same rows.

    Parts say by themselves how their matrices are cut: heads, widths of FFNs and experts, the vocabulary. What cannot be cut is computed whole on
    each device, with the same result.

    Args:
        precision: of the run.
        expert_parallel: experts of mixtures are dealt out over the devices that hold a layer together; false: each expert's width is cut.
        sequence_parallel: norms and the stream of a layer are computed for a share of the positions by each device that holds it; false: for all by each.
            With ``expert_parallel`` tokens are sent to their experts where that is less than each device's reading all positions.
    """

    def __init__(self, precision: str = "32-true", *, expert_parallel: bool = False, sequence_parallel: bool = False) -> None:
        super().__init__(precision)
        self.dealt = {"expert_parallel": expert_parallel, "sequence_parallel": sequence_parallel}
        self.left_to_trainer = "32-true" if self.double else precision  # autocast: nothing is gathered that could be cast

    def tensor_devices(self, devices: int) -> int:
        return devices

    def check_layout(self, model: nn.Module, devices: int) -> None:
        """UserError if a part cannot be cut into as many pieces as devices hold a layer together."""
        pieces_of(model, self.tensor_devices(devices), **self.dealt)

    def shard(self, model: nn.Module) -> None:
        hold_together(model, self.device_mesh["tensor_parallel"], **self.dealt)
