"""What a group of ranks computes in pieces, part by part: measured on small models, and as the table of docs/concepts/tensor_parallelism.md.

``python tests/distributed/pieces.py`` prints the table, ``--write`` renews the page.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

sys.path.insert(0, str(Path(__file__).parents[1]))
import threaded

from components.check.host import ON_PATH, VOCAB, Host, ids, objective, total_loss  # noqa: F401  for tests
from components.check.subject import subject_of
from components.core.registry import static_entries
from components.core.sockets import Layer, Terms
from components.core.traits import each_turn
from components.training.strategy._pieces import Pieces, pieces_of
from components.training.strategy._tensor import hold_together

PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "tensor_parallelism.md"
BEGIN, END = "<!-- written by tests/distributed/pieces.py -->", "<!-- end of pieces -->"
PARTS = [f"{kind}/{name}" for kind, name in sorted(static_entries()) if kind in ON_PATH]
OPTIONS = {"residual/drop_path": ["rate=0"]}  # ranks that are threads draw from one generator
ABSENT = ("attention/none", "ffn/none", "head/none")  # there is nothing to compute
OWN = ("attention", "ffn", "embedding", "head")  # kinds whose parts are computed in pieces themselves
INSIDE = ("position", "mask", "value", "sharing", "gate", "router")  # those that stand in one: with it, it is or is not

Step = tuple[float, dict[str, torch.Tensor]]


def host_of(part: str) -> Host:
    return Host.of(subject_of(part, OPTIONS.get(part, ())))


def step(model: nn.Module, host: Host, asked: Callable[..., Terms] = objective, **batch: torch.Tensor) -> Step:
    """Loss and gradients of a batch, in training."""
    torch.manual_seed(0)
    loss = torch.zeros((), dtype=torch.float64)
    for _ in each_turn(model.train()):
        one = total_loss(model(host.batch(ids(), **batch), asked))
        one.backward()
        loss += one.detach()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return loss.item(), {n: g.full_tensor() if isinstance(g, DTensor) else g for n, g in grads.items()}


def held_by(
    count: int,
    host: Host,
    run: Callable[..., Step] = step,
    *,
    recompute: bool = False,
    expert_parallel: bool = False,
    sequence_parallel: bool = False,
) -> list[Step]:
    """What ``run`` says on each of ``count`` ranks of the host's model, which they hold together; ``recompute``: layers twice, as activation checkpointing does."""

    def one(rank: int) -> Step:
        mesh = init_device_mesh("cpu", (count,), mesh_dim_names=("tensor",))
        hold_together(models[rank], mesh, expert_parallel=expert_parallel, sequence_parallel=sequence_parallel)
        return run(models[rank], host)

    models = [host.model() for _ in range(count)]
    for layer in (m for model in models for m in model.modules() if isinstance(m, Layer)):
        layer.checkpointing = recompute
    found = threaded.on_ranks(count, one, timeout=120)
    for result in found:
        if isinstance(result, Exception):
            raise result
    return found


def in_pieces(part: str) -> bool:
    """Whether two ranks share the work of the part, or of the attention or FFN that has it."""
    kind = part.partition("/")[0]
    host = host_of(part)
    with torch.device("meta"):
        model = host.build()
    found: Pieces = pieces_of(model, 2)
    if kind == "head":
        return bool(found.joined)
    if kind == "embedding":
        return bool(found.looked_up)
    inside = "ffn" if kind in ("ffn", "router") else "attention"
    return any(path.endswith(f".{inside}") for path in found.summed)


def table() -> str:
    """One row for each kind, with the names of its parts."""
    lines = ["| kind | in pieces | whole on each device |", "|---|---|---|"]
    for kind in (*OWN, *INSIDE):
        names: dict[bool, list[str]] = {True: [], False: []}
        for part in (p for p in PARTS if p.startswith(f"{kind}/") and p not in ABSENT):
            names[in_pieces(part)].append(f"`{part.partition('/')[2]}`")
        lines.append(f"| {kind} | {', '.join(names[True])} | {', '.join(names[False])} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with the table between its marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page(PAGE.read_text(encoding="utf8")), encoding="utf8")
    print(table())
