"""Run by two processes: gradients and loads of a mixture of experts under FSDP2, against one process. Prints the largest difference."""

from __future__ import annotations

import contract_parts
import torch
import torch.distributed as dist
from hosts import ids, scramble
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from components.core.exit import hard_exit
from components.core.sockets import Layer

MOE = {
    "name": "moe", "n_experts": 4, "d_ff": 16, "expert": "clamped_glu", "bias": True, "router": "sigmoid_top_k",
    "shared": {"name": "glu", "d_ff": 16}, "shared_gate": True, "balance_over": "sequence", "z_loss": 0.1,
}  # fmt: skip

dist.init_process_group("gloo")
rank = dist.get_rank()
values, targets = ids(4), ids(4, seed=1)
whole, sharded = (scramble(contract_parts.small(ffn=MOE)) for _ in range(2))
total, want = contract_parts.loss_of(whole, values, targets)
total.backward()
layers = [m for m in sharded.modules() if isinstance(m, Layer)]
for module in (*layers, sharded):
    fully_shard(module)
for checkpointing in (False, True):
    for layer in layers:
        layer.checkpointing = checkpointing
    sharded.zero_grad()
    total, terms = contract_parts.loss_of(sharded, values[rank * 2 : rank * 2 + 2], targets[rank * 2 : rank * 2 + 2])
    total.backward()
    worst = 0.0
    for p, q in zip(sharded.parameters(), whole.parameters(), strict=True):
        grad = p.grad.full_tensor() if isinstance(p.grad, DTensor) else p.grad
        worst = max(worst, (grad - q.grad).abs().max().item() / max(q.grad.abs().max().item(), 1e-6))
    loads = {name: value.clone() for name, value in terms.stats.items()}
    for load in loads.values():
        dist.all_reduce(load)
    assert len(loads) == 8, "the load of each of four layers, by the part and by its router"
    assert all(torch.equal(load, want.stats[name]) for name, load in loads.items())
    if rank == 0:
        print(f"worst {worst:.3e}", flush=True)
dist.barrier()  # nobody leaves while another still talks
hard_exit(0)
