"""Two processes under FSDP2 give the first values and gradients of one, in every wiring, with plain and widened streams."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.fsdp import fully_shard

from components import build
from components.core.exit import hard_exit
from components.core.sockets import Layer
from components.core.weights import initialise

IDS = torch.randint(0, 20, (2, 12), generator=torch.Generator().manual_seed(0))
LOOP = {"name": "looped", "loops": 2, "inject": True}
ALTUP = {"name": "altup", "side_ffn": "mlp", "clip": 0.5}
WIRINGS = (("layers", "gated"), ("u_net", "laurel"), (LOOP, "hyper_connections"), ("dense", "add"), (ALTUP, "add"))


def compare(rank, store, found):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    sizes = {"vocab_size": 20, "d_model": 32, "context_length": 12, "n_layers": 2, "attention": {"name": "gqa", "n_heads": 4}}
    for number, (stack, residual) in enumerate(WIRINGS):
        whole, sharded = (build("model", "decoder", **sizes, stack=stack, residual=residual).train() for _ in range(2))
        layers = [m for m in sharded.modules() if isinstance(m, Layer)]
        for layer in layers:
            layer.checkpointing = number % 2 == 0
            fully_shard(layer)
        fully_shard(sharded)
        for model in (whole, sharded):
            initialise(model, model.init, seed=3)
            model(IDS).square().mean().backward()
        pairs = [
            (a, b) for p, q in zip(whole.parameters(), sharded.parameters(), strict=True) for a, b in ((p, q), (p.grad, q.grad))
        ]
        worst = max((a - b.full_tensor()).abs().max().item() for a, b in pairs)
        if rank == 0:
            (found / f"{number}_{residual}").write_text(str(worst))
    dist.barrier()  # nobody leaves while another still talks
    hard_exit(0)


def test_two_processes_equal_one(tmp_path):
    found = tmp_path / "found"
    found.mkdir()
    mp.spawn(compare, (tmp_path / "store", found), nprocs=2)
    worst = {p.name: float(p.read_text()) for p in found.iterdir()}
    assert len(worst) == len(WIRINGS)
    assert max(worst.values()) < 1e-6, worst
