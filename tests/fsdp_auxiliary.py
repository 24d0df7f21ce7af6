"""Run by two processes: gradients of a model whose layers write losses out, under FSDP2, against one process. Prints the largest difference."""

from __future__ import annotations

import contract_parts
import torch.distributed as dist
from hosts import ids, scramble
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from components.core.exit import hard_exit
from components.core.sockets import Layer

contract_parts.remember()
dist.init_process_group("gloo")
rank = dist.get_rank()
values, targets = ids(4), ids(4, seed=1)
whole = scramble(contract_parts.small(ffn="test_auxiliary"))
contract_parts.loss_of(whole, values, targets)[0].backward()
sharded = scramble(contract_parts.small(ffn="test_auxiliary"))
for module in sharded.modules():
    if isinstance(module, Layer):
        fully_shard(module)
fully_shard(sharded)
for checkpointing in (False, True):
    for module in sharded.modules():
        if isinstance(module, Layer):
            module.checkpointing = checkpointing
    sharded.zero_grad()
    total, terms = contract_parts.loss_of(sharded, values[rank * 2 : rank * 2 + 2], targets[rank * 2 : rank * 2 + 2])
    total.backward()
    worst = 0.0
    for p, q in zip(sharded.parameters(), whole.parameters(), strict=True):
        grad = p.grad.full_tensor() if isinstance(p.grad, DTensor) else p.grad
        worst = max(worst, (grad - q.grad).abs().max().item() / max(q.grad.abs().max().item(), 1e-6))
    if rank == 0:
        print(f"worst {worst:.3e}", flush=True)
    assert worst < 1e-4, worst
dist.barrier()  # nobody leaves while another still talks
hard_exit(0)
