"""How evenly a mixture of experts is used: figures of a step for the log, from the loads that routers report."""

from __future__ import annotations

from torch import Tensor


def expert_load(stats: dict[str, Tensor]) -> dict[str, float]:
    """Figures over the tokens of one optimizer step and all layers with experts.

    Args:
        stats: {"part path.load": (n_experts,) tokens that went to each expert}; other statistics are ignored.

    Returns:
        ``expert_load_max``: the busiest expert's tokens over the even share (1: perfectly even), the largest over layers;
        ``experts_unused``: the share of all experts that no token went to. Empty without experts.
    """
    # a router that balances by load reports it too, under its own path: these are the same figures and must count once
    own = {
        name.removesuffix(".load"): value.float()
        for name, value in stats.items()
        if name.endswith(".load") and value.dim() == 1
    }
    parts = {name: value for name, value in own.items() if not name.endswith(".router")}
    if not parts:
        return {}
    busiest = max(float(v.max() / v.mean().clamp(min=1e-9)) for v in parts.values())
    unused = sum(int((v == 0).sum()) for v in parts.values()) / sum(v.numel() for v in parts.values())
    return {"expert_load_max": busiest, "experts_unused": unused}
