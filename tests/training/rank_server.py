"""Ranks that are started from outside, as torchrun starts them, by a process that has imported everything: a second each, and not ten."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # scripts that start ranks run without pytest, too
import warm_server
from warm_server import Started

OF_LAUNCHERS = ("RANK", "WORLD_SIZE", "MASTER_", "LOCAL_", "GROUP_", "NODE_RANK", "TORCHELASTIC_", "COMPONENTS_", "SLURM_")
RECIPE = """defaults:
  - override /tokenizer: byte
  - override /data: text
  - override /optimizer: adamw
model: {d_model: 16, n_layers: 1, context_length: 16, attention: {n_heads: 2}}
data: {path: ./text.txt}
task: {batch_size: 8, validation_every: 5, samples: 0, judged_samples: 0, validation_batches: 1}
optimizer: {lr: 0.01}
trainer: {max_steps: 20, log_every_n_steps: 5, accelerator: cpu, precision: 32-true, enable_progress_bar: false}
"""


def write(folder: Path) -> Path:
    """A recipe of a few thousand weights, and its text, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.yaml").write_text(RECIPE)
    text = "\n\n".join(f"the {w} number {i} is here" for i in range(60) for w in ("tree", "stone", "river"))
    (folder / "text.txt").write_text(text)
    return folder


def held_port() -> tuple[socket.socket, int]:
    """A port of this machine that nobody else is given while the socket is open; who asks for it by name may listen there all the same."""
    held = socket.socket()
    held.setsockopt(
        socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
    )  # as torch does: it may share the port with a socket that does not listen
    held.bind(("127.0.0.1", 0))
    return held, held.getsockname()[1]


def environments(count: int, port: int) -> list[dict[str, str]]:
    """What torchrun gives each of ``count`` ranks; nothing to a single one."""
    if count == 1:
        return [{}]
    every = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "one"}
    every |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [every | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


TRAIN = f"""import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import rank_faults
from components.cli import command
sys.argv[0], sys.path[:1] = "components", []
command()
"""


class Server:
    """Starts ranks; as a context, it leaves none of them."""

    def __init__(self) -> None:
        env = {n: v for n, v in os.environ.items() if not n.startswith(OF_LAUNCHERS) or n == "COMPONENTS_CACHE"}
        self.env = env | {"OMP_NUM_THREADS": "1"}
        self.started: list[Started] = []
        self.held: list[socket.socket] = []

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        for rank in self.started:
            rank.kill()
        for held in self.held:
            held.close()

    def ranks(
        self, folder: Path, words: Sequence[str], *, count: int = 2, script: Path | None = None, **env: str
    ) -> list[Started]:
        """``components train WORDS``, or a script with these arguments, as ``count`` ranks in ``folder``: with torchrun's environment, and ``env``."""
        held, port = held_port()
        self.held.append(held)
        command = ("file", str(script), [*words]) if script else ("-c", TRAIN, ["train", *words])
        ranks = [
            warm_server.start(command, folder, self.env | told | env, folder / f"said{rank}.txt")
            for rank, told in enumerate(environments(count, port))
        ]
        self.started += ranks
        return ranks


def launch(count: int, script: Path, *argv: str, folder: Path, timeout: float = 600.0) -> None:
    """A script as ``count`` ranks. AssertionError with what they said unless all of them end well and in time; then none is left."""
    with Server() as server:
        ranks = server.ranks(folder, argv, count=count, script=script)
        until, codes = time.monotonic() + timeout, [None] * count
        while None in codes and not any(codes) and time.monotonic() < until:
            time.sleep(0.05)
            codes = [rank.code() for rank in ranks]
    said = "".join(f"rank {i}: {rank.said}" for i, rank in enumerate(ranks))
    for rank in ranks:
        rank.out.unlink()
    assert not any(codes), f"{argv} ended with {codes}: {said}"
    assert None not in codes, f"{argv} did not end: {said}"
