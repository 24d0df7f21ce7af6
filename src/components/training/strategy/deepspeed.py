"""DeepSpeed's ZeRO, where the package deepspeed is installed."""

from __future__ import annotations

from typing import Literal

from components.core.registry import preset, register


@register("strategy", "deepspeed")
def deepspeed(*, stage: Literal["1", "2", "2_offload", "3", "3_offload", "3_offload_nvme"] | None = None) -> str:
    """DeepSpeed's ZeRO, Rajbhandari et al. 2019, arXiv:1910.02054; it needs the package deepspeed and GPUs.

    Args:
        stage: what is sharded (1: optimizer state, 2: gradients too, 3: weights too), and whether it is kept in the CPU's memory or on a disk;
            null: Lightning's default.
    """
    return "deepspeed" if stage is None else f"deepspeed_stage_{stage}"


# Lightning's names
preset("strategy", "deepspeed_stage_1", of="deepspeed", stage="1")
preset("strategy", "deepspeed_stage_2", of="deepspeed", stage="2")
preset("strategy", "deepspeed_stage_2_offload", of="deepspeed", stage="2_offload")
preset("strategy", "deepspeed_stage_3", of="deepspeed", stage="3")
preset("strategy", "deepspeed_stage_3_offload", of="deepspeed", stage="3_offload")
preset("strategy", "deepspeed_stage_3_offload_nvme", of="deepspeed", stage="3_offload_nvme")
