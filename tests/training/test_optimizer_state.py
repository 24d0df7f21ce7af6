"""An optimizer's state goes from one process onto shards and back, for every optimizer: ranks are threads here (tests/threaded.py)."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from components import build
from components.core.errors import UserError
from components.core.sockets import Batch, Layer
from components.core.weights import roles
from components.training.optimizer_state import load_whole, whole_state

sys.path.insert(0, str(Path(__file__).parents[1]))
from hosts import decoder, ids, parts
from threaded import on_ranks

# torch's Rprop cannot step on shards: it writes into a DTensor by a mask
OPTIMIZERS = [name for p in parts("optimizer") if (name := p.partition("/")[2]) != "rprop"]


class Module(nn.Module):
    """As a LightningModule holds its model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def trained(name: str, steps: int = 2) -> tuple[Module, Any]:
    module = Module(decoder().train())
    optimizer = build("optimizer", name, weights=list(roles(module.model)))
    for step in range(steps):
        module.model(Batch(ids(2, seed=step))).float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return module, optimizer


def sharded(weights: dict[str, torch.Tensor], name: str) -> tuple[Module, Any]:
    mesh = init_device_mesh("cpu", (2,))
    module = Module(decoder().train())
    module.load_state_dict(weights)
    for layer in module.model.modules():
        if isinstance(layer, Layer):
            fully_shard(layer, mesh=mesh)
    fully_shard(module.model, mesh=mesh)
    return module, build("optimizer", name, weights=list(roles(module.model)))


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a.full_tensor() if isinstance(a, DTensor) else a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_from_one_process_onto_shards_and_back(name):
    module, optimizer = trained(name)
    weights, state = copy.deepcopy(module.state_dict()), copy.deepcopy(optimizer.state_dict())
    assert any(p.dim() == 1 for p in module.parameters()), (
        "weights in two groups, so that their order is not that of the modules"
    )

    def run(rank):  # noqa: ARG001
        shards, over_shards = sharded(weights, name)
        load_whole(shards, over_shards, copy.deepcopy(state))
        return whole_state(shards, over_shards)

    first, second = on_ranks(2, run, timeout=30)
    if isinstance(first, Exception):
        raise first
    assert same(first, state)
    assert second == {}, "whole on the first rank alone"


def test_groups_of_other_sizes_are_refused():
    module, optimizer = trained("adamw")
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0]["params"].pop()
    with pytest.raises(UserError, match="the optimizer's state is of groups of"):
        load_whole(module, optimizer, state)
