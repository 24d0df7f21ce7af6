"""Strategies for ``Trainer(strategy=...)`` that Lightning does not have. Its own go by its own names, such as ``ddp``."""

from __future__ import annotations

from components.training.strategy.fsdp2 import FSDP2 as FSDP2

__all__ = ["FSDP2"]
