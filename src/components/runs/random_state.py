"""The random state of every rank that reads its own data, as plain tensors: torch, the device, numpy and Python."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from components.core.collectives import of_each_reader


def here(device: torch.device) -> dict[str, Tensor]:
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    state = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor([version, *words], dtype=torch.int64),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_place": torch.tensor([position, has_gauss], dtype=torch.int64),
        "numpy_gauss": torch.tensor([cached], dtype=torch.float64),
    }
    assert name == "MT19937"
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def of_all_ranks(device: torch.device) -> list[dict[str, Tensor]]:
    """One of each rank that reads its own data: ranks that read the same draw the same. All ranks call this together."""
    return of_each_reader(here(device))


def restore(state: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["torch"].to("cpu", torch.uint8))
    version, *words = state["python"].tolist()
    gauss = state["python_gauss"].tolist()
    random.setstate((version, tuple(words), gauss[0] if gauss else None))
    position, has_gauss = state["numpy_place"].tolist()
    np.random.set_state(("MT19937", state["numpy"].numpy().astype(np.uint32), position, has_gauss, float(state["numpy_gauss"])))
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].to("cpu", torch.uint8), device)
    if "mps" in state and device.type == "mps":
        torch.mps.set_rng_state(state["mps"].to("cpu", torch.uint8))
