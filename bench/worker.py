"""One library in a process of its own: answers lines on standard input (check, train N, generate N) with lines of JSON.

``python bench/worker.py a|b|c PEER theirs|kept|ours fp32|bf16 THREADS``. ours: in a process that keeps what a step frees, as ``components train`` has it.
kept: theirs in such a process.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import peers
import torch

from components.core import allocator

shape, name, side, precision, threads = *sys.argv[1:5], int(sys.argv[5])
torch.set_num_threads(threads)
torch.manual_seed(0)
peer = peers.take(shape)[name]
if side != "theirs":
    allocator.settle()
generator = torch.Generator().manual_seed(0)
x, y = (torch.randint(0, peers.V, (peers.B, peers.T), generator=generator) for _ in range(2))
prompt = x[:1, :32]
theirs = peer.build()
if side == "ours":
    model, loss_of, generate = peers.ours(peer.parts), peers.our_loss, peers.our_generate
    model.load_state_dict(peer.weights(theirs))
    del theirs
else:
    model, loss_of, generate = theirs, peer.loss, peer.generate
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)


def rss() -> float:
    """Resident memory now, in MB."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize() / 1e6


before = rss()


def step() -> float:
    model.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = loss_of(model, x, y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


for line in sys.stdin:
    command, _, count = line.strip().partition(" ")
    started = time.perf_counter()
    if command == "check":  # the loss before any step, in fp32 and as it is trained
        model.eval()
        answer = {}
        for dtype in ("fp32", precision):
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
                answer[dtype] = loss_of(model, x, y).item()
    elif command == "train":
        losses = [step() for _ in range(int(count))]
        answer = {"seconds": (time.perf_counter() - started) / int(count), "loss": losses[-1]}
    elif command == "generate":
        model.eval()
        out = generate(model, prompt, int(count))
        answer = {"seconds": (time.perf_counter() - started) / int(count), "ids": out[0].tolist()}
    elif command == "memory":
        answer = {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, "before_mb": before}
    else:
        break
    print(json.dumps(answer), flush=True)
