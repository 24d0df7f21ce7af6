"""One library in a process of its own: answers lines on standard input (check, train N, generate N) with lines of JSON.

``python bench/worker.py PEER theirs|ours fp32|bf16 THREADS``
"""

from __future__ import annotations

import json
import resource
import sys
import time

import peers
import torch

name, side, precision, threads = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
torch.set_num_threads(threads)
torch.manual_seed(0)
peer = peers.PEERS[name]
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
    if command == "check":  # loss and logits' text before any step
        model.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            answer = {"loss": loss_of(model, x, y).item()}
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
