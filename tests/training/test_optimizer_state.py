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
from components.training.strategy._saved import Saved

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

    first, second = on_ranks(2, run)
    if isinstance(first, Exception):
        raise first
    assert same(first, state)
    assert second == {}, "whole on the first rank alone"


class Saving(Saved):
    """What a strategy knows of its model."""

    def __init__(self, model: Module) -> None:
        self.checkpoint, self.model = "sharded", model


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_over_a_folder_of_shards(name, tmp_path):
    module, optimizer = trained(name)
    weights, state = copy.deepcopy(module.state_dict()), copy.deepcopy(optimizer.state_dict())

    def run(rank):  # noqa: ARG001
        shards, over_shards = sharded(weights, name)
        load_whole(shards, over_shards, copy.deepcopy(state))
        saving = Saving(shards)
        held = {"state_dict": saving.lightning_module_state_dict(), "optimizer_states": [saving.optimizer_state(over_shards)]}
        assert saving.begin_shards(held, tmp_path / "a.ckpt", lambda: None) is None
        torch.distributed.barrier()
        others, over_others = sharded({n: torch.full_like(w, 0.5) for n, w in weights.items()}, name)
        Saving(others).load_folder(tmp_path / "a.ckpt", [over_others])
        full = {n: w.full_tensor() if isinstance(w, DTensor) else w for n, w in others.state_dict().items()}
        return same(full, weights), whole_state(others, over_others)

    first, second = on_ranks(2, run)
    for found in (first, second):
        if isinstance(found, Exception):
            raise found
        assert found[0], "the weights differ"
    assert same(first[1], state)


def test_groups_of_other_sizes_are_refused():
    module, optimizer = trained("adamw")
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0]["params"].pop()
    with pytest.raises(UserError, match="the optimizer's state is of groups of"):
        load_whole(module, optimizer, state)
