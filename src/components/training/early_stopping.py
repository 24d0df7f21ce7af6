"""Early stopping that goes on with a run: what it has seen comes from the checkpoint, what it should do from the config."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import callbacks


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's, but for the patience, which Lightning takes from the checkpoint: a changed one would not count."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})
