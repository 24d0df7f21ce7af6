"""Every registered part under tensor parallelism: a group of ranks that holds a model together computes what one computes, gradients too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

sys.path.insert(0, str(Path(__file__).parents[1]))
import threaded

from components.check.host import ON_PATH, Host, ids, objective, total_loss
from components.check.subject import subject_of
from components.core.registry import static_entries
from components.training.strategy._pieces import Pieces
from components.training.strategy._tensor import hold_together

PARTS = [f"{kind}/{name}" for kind, name in sorted(static_entries()) if kind in ON_PATH]
OPTIONS = {"residual/drop_path": ["rate=0"]}  # ranks that are threads draw from one generator


def step(model: nn.Module, host: Host) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of a batch, in training."""
    torch.manual_seed(0)
    loss = total_loss(model.train()(host.batch(ids()), objective))
    loss.backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return loss.item(), {n: g.full_tensor() if isinstance(g, DTensor) else g for n, g in grads.items()}


def held_by(count: int, host: Host) -> list[tuple[Pieces, tuple[float, dict[str, torch.Tensor]]]]:
    """What each of ``count`` ranks computes of the host's model, which they hold together."""

    def one(rank: int) -> tuple[Pieces, tuple[float, dict[str, torch.Tensor]]]:
        model = models[rank]
        mesh = init_device_mesh("cpu", (count,), mesh_dim_names=("tensor",))
        return hold_together(model, mesh), step(model, host)

    models = [host.model() for _ in range(count)]
    found = threaded.on_ranks(count, one, timeout=60)
    for result in found:
        if isinstance(result, Exception):
            raise result
    return found


@pytest.mark.parametrize("part", PARTS)
def test_two_ranks_compute_what_one_does(part):
    host = Host.of(subject_of(part, OPTIONS.get(part, ())))
    loss, grads = step(host.model(), host)
    for _, (theirs, own) in held_by(2, host):
        assert theirs == pytest.approx(loss, abs=1e-12)
        assert own.keys() == grads.keys()
        for name, grad in grads.items():
            torch.testing.assert_close(own[name], grad, rtol=1e-9, atol=1e-9, msg=f"{part}: {name}")
