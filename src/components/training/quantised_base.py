"""Frozen matrices in few bits (``adapter.base``): where a run may have them, and the line that says what they take."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from components.core.config_types import Config, part_name
from components.core.errors import UserError
from components.core.memory import shown
from components.functional.quantised_tensor import Quantised, bytes_of


def check_base(model: nn.Module, strategy: object, settings: Config) -> str:
    """A line about the matrices of ``model``, which may be on the meta device, that are kept in few bits; empty if none is.

    Args:
        model: with its adapter.
        strategy: Lightning's.
        settings: the trainer's.

    Raises:
        UserError: the strategy or the precision wants tensors that are as long as they look.
    """
    # here, since a plan needs none of Lightning
    from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

    from components.training.float8 import PRECISION

    node = settings.get("strategy") or "auto"
    # each device has the whole model under these; classes that build on them are others
    whole = type(strategy) in (SingleDeviceStrategy, DDPStrategy)
    need_whole(model, part_name(node) if isinstance(node, dict) else node, whole=whole)
    if not (held := matrices(model)):
        return ""
    if settings.get("precision") == PRECISION:
        raise UserError("adapter.base", f"{held[0].bits} matrices do not multiply in fp8", "trainer.precision=bf16-mixed")
    taken, full = sum(map(bytes_of, held)), sum(p.numel() * p.element_size() for p in held)
    return f"base in {held[0].bits}: {len(held)} matrices of layers take {shown(taken)} instead of {shown(full)}"


def need_whole(model: nn.Module, strategy: str, *, whole: bool) -> None:
    """UserError if the model has such matrices, and the strategy of this name does not leave each device the ``whole`` model."""
    if not whole and (held := matrices(model)):
        what = f"trainer.strategy={strategy} does not lay out matrices in {held[0].bits}"
        raise UserError("adapter.base", what, "trainer.strategy=ddp, or adapter.base=full")


def matrices(model: nn.Module) -> Sequence[Quantised]:
    return [p for p in model.parameters() if isinstance(p, Quantised)]
