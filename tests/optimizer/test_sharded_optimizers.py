"""Every optimizer of ours over shards of FSDP2: two processes step as one, and a whole state dict of shards is loaded again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("warm_processes")

SCRIPT = """
import copy
import torch, torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.fsdp import fully_shard
from small_model import small
from components import build
from components.core.exit import hard_exit
from components.parts.optimizer._nested import averaging
from components.core.weights import roles

dist.init_process_group("gloo")
torch.set_num_threads(1)
ids = torch.randint(0, 11, (4, 6), generator=torch.Generator().manual_seed(3))
mine = ids.chunk(2)[dist.get_rank()]
mesh = dist.init_device_mesh("cpu", (2,))
# the same sums in another order: optimizers that divide by a gradient's own size need a large eps to agree
CASES = {
    "lion": {"lr": 1e-3}, "adafactor": {}, "soap": {"every": 2, "eps": 1e-2}, "schedule_free": {"eps": 1e-3},
    "ema": {"inner": {"name": "sgd", "lr": 0.1}}, "skip_step": {"inner": {"name": "adamw", "eps": 1e-3}}, "rmsprop": {"eps": 1e-2},
}

def sharded():
    model = small()
    for part in (model.q, model.out, model.experts):
        fully_shard(part, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model

def train(model, optimizer, x, steps=3):
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), (x.flatten() + 1) % 11).backward()
        optimizer.step()

def worst(a, b):
    whole = [[p.full_tensor() if hasattr(p, "full_tensor") else p for p in m.parameters()] for m in (a, b)]
    return max((p - q).abs().max().item() for p, q in zip(*whole))

for name, options in CASES.items():
    one, many = small(), sharded()
    a = build("optimizer", name, weights=list(roles(one)), **options)
    b = build("optimizer", name, weights=list(roles(many)), **options)
    train(one, a, ids)
    train(many, b, mine)
    apart = worst(one, many)
    if averaging(b):
        averaging(a).eval(), averaging(b).eval()
        apart = max(apart, worst(one, many))
    state = copy.deepcopy(get_optimizer_state_dict(many, b, options=StateDictOptions(full_state_dict=True, cpu_offload=True)))
    other = sharded()
    with torch.no_grad():
        for p, q in zip(other.parameters(), many.parameters()):
            p.copy_(q)
    c = build("optimizer", name, weights=list(roles(other)), **options)
    loading = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_optimizer_state_dict(other, c, state if dist.get_rank() == 0 else {}, options=loading)
    if averaging(c):
        averaging(b).train(), averaging(c).train()
    again = worst(many, other)
    train(many, b, mine)
    train(other, c, mine)
    again = max(again, worst(many, other))
    if dist.get_rank() == 0:
        print("case", name, apart, again, flush=True)
dist.barrier()  # nobody leaves while another still talks
hard_exit(0)
"""


def test_two_processes_step_as_one_and_resume_for_every_optimizer(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", str(script)]
    here = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": here, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = {
        line.split()[1]: tuple(map(float, line.split()[2:])) for line in run.stdout.splitlines() if line.startswith("case")
    }
    assert len(found) == 7
    for name, (apart, again) in found.items():
        assert apart < 1e-4, name
        assert again == 0.0, name
