"""Muon takes matrices inside the layers by role, equals the formula, and gathers shards of FSDP2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from components import build
from components.core.weights import roles
from components.functional.orthogonal import orthogonalise_reference
from components.parts.optimizer import _spread as spread

pytestmark = pytest.mark.usefixtures("warm_processes")


def by(optimizer, which):
    return {id(p) for g in optimizer.param_groups if g["by"] == which for p in g["params"]}


def test_matrices_go_to_muon_by_role_and_the_rest_to_adamw(weights):
    optimizer = build("optimizer", "muon", weights=weights, lr=0.5, adamw_lr=0.25)
    assert by(optimizer, "muon") == {id(w.parameter) for w in weights if w.role in ("hidden", "out")}
    names = {w.name for w in weights if id(w.parameter) in by(optimizer, "muon")}
    assert names == {"q.weight", "k.weight", "out.weight", "experts.weight"}
    assert {(g["by"], g["lr"]) for g in optimizer.param_groups} == {("muon", 0.5), ("adamw", 0.25)}


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw", "none"])
def test_equals_the_formula(adjust, nesterov, model, weights):
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": nesterov, "adjust": adjust, "weight_decay": 0.2, "dtype": "float32"}
    optimizer = build("optimizer", "muon", weights=weights, **options)
    chosen = {"q.weight": (8, 8), "out.weight": (8, 16), "experts.weight": (16, 8)}  # (out, in)
    expected = {n: p.detach().clone() for n, p in model.named_parameters() if n in chosen}
    momentum = {n: torch.zeros_like(p) for n, p in expected.items()}
    for step in range(3):
        for i, w in enumerate(weights):
            w.parameter.grad = torch.randn(w.parameter.shape, generator=torch.Generator().manual_seed(10 * step + i))
        for n, p in expected.items():
            g = dict(model.named_parameters())[n].grad
            momentum[n] = 0.9 * momentum[n] + 0.1 * g
            update = 0.9 * momentum[n] + 0.1 * g if nesterov else momentum[n]
            matrices = update if update.ndim == 3 else update[None]
            update = torch.stack([orthogonalise_reference(m) for m in matrices]).view(p.shape)
            d_out, d_in = chosen[n]
            scale = {"original": max(1, d_out / d_in) ** 0.5, "match_rms_adamw": 0.2 * max(d_out, d_in) ** 0.5, "none": 1.0}[
                adjust
            ]
            expected[n] = (1 - 0.1 * 0.2) * p - 0.1 * scale * update
        optimizer.step()
    for n, p in expected.items():
        torch.testing.assert_close(dict(model.named_parameters())[n].detach(), p, rtol=1e-4, atol=1e-5)


def test_stands_near_torch_muon_in_bfloat16(model, weights, ids):
    theirs = torch.optim.Muon([torch.nn.Parameter(model.q.weight.detach().clone())], lr=0.02, weight_decay=0.0)
    F.cross_entropy(model(ids), ids.flatten()).backward()
    theirs.param_groups[0]["params"][0].grad = model.q.weight.grad.clone()
    build("optimizer", "muon", weights=weights, lr=0.02, dtype="bfloat16").step()
    theirs.step()
    torch.testing.assert_close(model.q.weight, theirs.param_groups[0]["params"][0], rtol=0, atol=1e-3)


def test_rounds_are_bounded_and_change_nothing(model, weights, ids, monkeypatch):
    F.cross_entropy(model(ids), ids.flatten()).backward()
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = build("optimizer", "muon", weights=weights, dtype="float32")
    matrices = [model.q.weight, model.k.weight, model.out.weight]
    assert [len(some.mine) for some in optimizer.rounds(matrices)] == [2, 1]
    optimizer.step()
    together = {n: p.detach().clone() for n, p in model.named_parameters()}
    model.load_state_dict(start)
    monkeypatch.setattr(spread, "MOST_AT_ONCE", 1)
    optimizer = build("optimizer", "muon", weights=weights, dtype="float32")
    assert [len(some.mine) for some in optimizer.rounds(matrices)] == [1, 1, 1]
    optimizer.step()
    for n, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), together[n])


def test_zero_learning_rate_changes_nothing(model, weights, ids):
    """What torch's distributed checkpoint does to make an optimizer's state before it loads one."""
    optimizer = build("optimizer", "muon", weights=weights, weight_decay=0.1)
    before = [p.detach().clone() for p in model.parameters()]
    F.cross_entropy(model(ids), ids.flatten()).backward()
    for g in optimizer.param_groups:
        g["lr"] = 0.0
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


TWO_PROCESSES = """
import copy, sys
import torch, torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.fsdp import fully_shard
from small_model import small
from components import build
from components.core.exit import hard_exit
from components.core.weights import roles

dist.init_process_group("gloo")
torch.set_num_threads(1)
name, options = sys.argv[1], eval(sys.argv[2])
single, sharded = small(), small()
ids = torch.randint(0, 11, (4, 6), generator=torch.Generator().manual_seed(3))
mine = ids.chunk(2)[dist.get_rank()]
mesh = dist.init_device_mesh("cpu", (2,))
for part in (sharded.q, sharded.out, sharded.experts):
    fully_shard(part, mesh=mesh)
fully_shard(sharded, mesh=mesh)
a = build("optimizer", name, weights=list(roles(single)), **options)
b = build("optimizer", name, weights=list(roles(sharded)), **options)
for _ in range(4):
    for model, optimizer, x in ((single, a, ids), (sharded, b, mine)):
        optimizer.zero_grad()
        F.cross_entropy(model(x), (x.flatten() + 1) % 11).backward()
        optimizer.step()
worst = max((p - q.full_tensor()).abs().max().item() for p, q in zip(single.parameters(), sharded.parameters()))
assert b.state[sharded.q.weight], "no state"
if dist.get_rank() == 0:
    print("worst", worst)
dist.barrier()  # nobody leaves while another still talks
hard_exit(0)
"""


@pytest.mark.parametrize(("name", "options"), [("muon", {"dtype": "float32", "adamw_eps": 1e-4})])
def test_two_processes_with_fsdp2_equal_one(name, options, tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--standalone",
        str(script),
        name,
        repr(options),
    ]
    here = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": here, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert float(run.stdout.split("worst")[1].split()[0]) < 1e-5


def test_one_optimizer_under_lightning(model, ids):
    import lightning as L

    class Task(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = model
            self.losses = []

        def training_step(self, batch, _):
            loss = F.cross_entropy(self.model(batch[0]), (batch[0].flatten() + 1) % 11)
            self.losses.append(loss.item())
            return loss

        def configure_optimizers(self):
            return build("optimizer", "muon", weights=list(roles(self.model)))

    task = Task()
    loader = torch.utils.data.DataLoader([ids] * 8, batch_size=None, collate_fn=lambda x: [x])
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, gradient_clip_val=1.0,
    )  # fmt: skip
    trainer.fit(task, loader)
    assert len(task.losses) == 8
    assert task.losses[-1] < task.losses[0]
