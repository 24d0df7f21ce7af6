"""Ranks that are started from outside, as torchrun starts them, by a process that has imported everything: a second each, and not ten.

``python rank_server.py`` reads requests from its input, one JSON a line, and answers each with one line:
``{"folder": F, "out": O, "script": S, "argv": [...], "env": {...}}`` forks a process that runs the script, or ``components train`` where S is null, and gives its
process id; ``{"look": PID}`` gives its exit code, or null while it runs.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

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


class Rank:
    """A process of the server."""

    def __init__(self, server: Server, pid: int, out: Path) -> None:
        self.server, self.pid, self.out = server, pid, out

    @property
    def said(self) -> str:
        return self.out.read_text(errors="replace")

    def code(self) -> int | None:
        """Its exit code, negative if a signal ended it; None while it runs."""
        return self.server.ask({"look": self.pid})

    def ended(self, seconds: float = 120.0) -> int:
        """The same, waited for."""
        until = time.monotonic() + seconds
        while (code := self.code()) is None:
            assert time.monotonic() < until, f"process {self.pid} does not end: {self.said}"
            time.sleep(0.02)
        return code


class Server:
    """Starts ranks; as a context, it leaves none of them."""

    def __init__(self) -> None:
        env = {n: v for n, v in os.environ.items() if not n.startswith(OF_LAUNCHERS) or n == "COMPONENTS_CACHE"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": env | {"OMP_NUM_THREADS": "1"}},
        )
        self.pids: list[int] = []
        self.held: list[socket.socket] = []

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.pids:
            if self.ask({"look": pid}) is None:
                os.kill(pid, signal.SIGKILL)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)
        for held in self.held:
            held.close()

    def ask(self, request: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def ranks(
        self, folder: Path, words: Sequence[str], *, count: int = 2, script: Path | None = None, **env: str
    ) -> list[Rank]:
        """``components train WORDS``, or a script with these arguments, as ``count`` ranks in ``folder``: with torchrun's environment, and ``env``."""
        held, port = held_port()
        self.held.append(held)
        started = []
        for rank, told in enumerate(environments(count, port)):
            out = folder / f"said{rank}.txt"
            asked = {"folder": str(folder), "out": str(out), "script": script and str(script), "argv": [*words]}
            pid = self.ask({**asked, "env": told | env})
            self.pids.append(pid)
            started.append(Rank(self, pid, out))
        return started


@cache
def shared() -> Server:
    """The one server of this process, which ends with it."""
    server = Server()
    atexit.register(server.__exit__)
    return server


def launch(count: int, script: Path, *argv: str, folder: Path, timeout: float = 600.0) -> None:
    """A script as ``count`` ranks. AssertionError with what they said unless all of them end well and in time; then none is left."""
    ranks = shared().ranks(folder, argv, count=count, script=script)
    until, codes = time.monotonic() + timeout, [None] * count
    while None in codes and not any(codes) and time.monotonic() < until:
        time.sleep(0.05)
        codes = [rank.code() for rank in ranks]
    said = "".join(f"rank {i}: {rank.said}" for i, rank in enumerate(ranks))
    for rank, code in zip(ranks, codes):
        if code is None:
            os.kill(rank.pid, signal.SIGKILL)
            rank.ended()
        rank.out.unlink()
    assert not any(codes), f"{argv} ended with {codes}: {said}"
    assert None not in codes, f"{argv} did not end: {said}"


def serve() -> None:
    import torch

    import components
    import components.training.experiment
    from components.cli import command

    if (fault := Path(__file__).with_name("rank_faults.py")).exists():
        components.register  # noqa: B018  the names of the package are imported when they are asked for
        exec(compile(fault.read_text(), str(fault), "exec"), {"__name__": "rank_faults"})
    torch.set_num_threads(1)
    codes: dict[int, int] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if "look" in asked:
            pid = asked["look"]
            if pid not in codes and (status := os.waitpid(pid, os.WNOHANG))[0]:
                codes[pid] = os.waitstatus_to_exitcode(status[1])
            print(json.dumps(codes.get(pid)), flush=True)
            continue
        if pid := os.fork():
            print(pid, flush=True)
            continue
        os.setpgrp()
        os.chdir(asked["folder"])
        out = os.open(asked["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(out, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(asked["env"])
        code = 1
        try:
            if asked["script"] is None:
                sys.argv = ["components", "train", *asked["argv"]]
                command()
            sys.argv = [asked["script"], *asked["argv"]]
            sys.path[0] = str(Path(asked["script"]).parent)
            runpy.run_path(asked["script"], run_name="__main__")
            code = 0
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else int(e.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            atexit._run_exitfuncs()
            os._exit(code)


if __name__ == "__main__":
    serve()
