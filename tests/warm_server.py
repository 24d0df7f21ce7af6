"""A Python that has imported what a run needs, and forks for each process that a test starts: see `warm/sitecustomize.py`, its other half.

Tests ask for it (the fixture `warm_processes`) where it is not the start itself that they look at: imports, threads, what is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

WINDOW = Path(__file__).with_name("warm")
ADDRESS = "COMPONENTS_TESTS_WARM"
AT_IMPORT = (
    *("OMP_", "MKL_", "MALLOC_", "LD_", "LC_", "LANG", "CUDA_", "TORCH_LOGS", "TORCHINDUCTOR_", "TORCHDYNAMO_"),
    *("HF_", "TRANSFORMERS_", "MPLBACKEND", "PYTHONHASHSEED", "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONWARNINGS"),
)
"""The variables that Python or a library reads once, as it starts or is imported."""
MODULES = ("torch", "components", "components.training.experiment", "hydra.core.override_parser.overrides_parser", "lightning")
"""What a run imports before its first step; all of Lightning comes last, which the examples import and our own runs do not."""


def at_import(variables: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name.startswith(AT_IMPORT)}


@cache
def address() -> str:
    """Of the one server of this process, which ends with it."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    path = str(folder / "socket")
    env = {n: v for n, v in os.environ.items() if n != ADDRESS}
    env |= {"PYTHONPATH": str(Path(__file__).parents[1] / "src"), "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen([sys.executable, __file__, path], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"

    def closes() -> None:
        server.kill()
        server.wait()
        Path(path).unlink(missing_ok=True)
        folder.rmdir()

    atexit.register(closes)
    return path


class Started:
    """A process without a window, which its starter may stop or kill by its own ``pid``; what it says goes to the file ``out``."""

    def __init__(self, pid: int, answers: socket.socket, out: Path) -> None:
        self.pid, self.answers, self.out = pid, answers, out
        self._code: int | None = None

    @property
    def said(self) -> str:
        return self.out.read_text(errors="replace")

    def code(self) -> int | None:
        """Its exit code, negative if a signal ended it; None while it runs."""
        if self._code is None and select.select([self.answers], [], [], 0)[0]:
            self._code = int(_line(self.answers))
            self.answers.close()
        return self._code

    def ended(self, seconds: float = 120.0) -> int:
        """The same, waited for."""
        until = time.monotonic() + seconds
        while (code := self.code()) is None:
            assert time.monotonic() < until, f"process {self.pid} does not end: {self.said}"
            time.sleep(0.02)
        return code

    def kill(self) -> None:
        if self.code() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.ended()


def start(command: tuple[str, str, list[str]], folder: Path, env: dict[str, str], out: Path) -> Started:
    """A process for ``command`` (-c, its source, arguments; or file, its path, arguments) in ``folder``, with no other variables than ``env``."""
    answers = socket.socket(socket.AF_UNIX)
    answers.connect(address())
    text = json.dumps({"command": command, "folder": str(folder), "env": env, "unbuffered": False}).encode()
    with open(os.devnull) as nothing, open(out, "a") as stream:
        socket.send_fds(answers, [len(text).to_bytes(8, "little")], [nothing.fileno(), stream.fileno(), stream.fileno()])
        answers.sendall(text)
        return Started(int(_line(answers)), answers, out)


def _line(connection: socket.socket) -> str:
    """One line and no more: what follows is read later."""
    read = b""
    while not read.endswith(b"\n") and (one := connection.recv(1)):
        read += one
    return read.decode()


def on_path(path: str = "") -> str:
    """PYTHONPATH, with ``path`` if there is one, of processes that are to be warm."""
    return os.pathsep.join(part for part in (str(WINDOW), path) if part)


def imports() -> None:
    for name in MODULES:
        importlib.import_module(name)
    sys.modules["torch"].set_num_threads(1)


def received(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """(what is asked, its streams); None where the asker died while it asked."""
    head, streams, *_ = socket.recv_fds(connection, 8, 3)
    size, text = int.from_bytes(head, "little"), b""
    while len(text) < size and (more := connection.recv(size - len(text))):
        text += more
    return (json.loads(text) if 0 < size == len(text) else None), streams


def is_as_here(asked: dict[str, Any], here: str, began_with: dict[str, str]) -> bool:
    """Whether a cold start would have imported the same files with the same variables; who asks without a window has chosen."""
    if "window" not in asked:
        return True
    found = next((p for p in asked["path"] if (Path(p) / "components" / "__init__.py").is_file()), None)
    if found is None or Path(found).resolve() != Path(here).resolve():
        return False
    theirs, ours = at_import(asked["env"]), at_import(dict(os.environ))
    # libraries set some when they are imported, in the asker too
    return all(theirs.get(n) in (began_with.get(n), ours.get(n)) for n in {*theirs, *ours, *began_with})


def becomes(asked: dict[str, Any], streams: Iterable[int]) -> None:
    """This process, as Python would have begun it."""
    os.setpgrp()
    os.chdir(asked["folder"])
    for to, given in enumerate(streams):
        os.dup2(given, to)
        os.close(given)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=stream is sys.stderr or stream.isatty(), write_through=asked["unbuffered"])
    os.environ.clear()
    os.environ.update(asked["env"])
    if "window" not in asked:
        sys.path.remove(str(Path(__file__).parent))
        return
    sys.path[:], sys.prefix, sys.executable = asked["path"], asked["prefix"], asked["executable"]
    sys.path_importer_cache.clear()
    for name, known in (("registry", "_known"), ("plugins", "installed")):  # packages on the path that the server did not have
        getattr(sys.modules[f"components.core.{name}"], known).cache_clear()
    window = asked["window"]

    def parent() -> int:
        """Who started the window; 1 once the window is gone, as for every orphan."""
        try:
            return int(Path(f"/proc/{window}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            return 1

    os.getppid = parent


def runs(kind: str, what: str, rest: list[str]) -> None:
    """The command, in a module ``__main__`` of its own."""
    sys.orig_argv = [sys.executable, *([kind] if kind != "file" else []), what, *rest]
    if kind == "-m":
        sys.argv = ["-m", *rest]
        sys.path.insert(0, os.getcwd())
        runpy._run_module_as_main(what)
        return
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    if kind == "-c":
        sys.argv = ["-c", *rest]
        sys.path.insert(0, "")
        exec(compile(what, "<string>", "exec"), main.__dict__)
        return
    sys.argv = [what, *rest]
    sys.path.insert(0, str(Path(what).resolve().parent))
    main.__file__ = what
    exec(compile(Path(what).read_bytes(), what, "exec"), main.__dict__)


def tells(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # its window was killed
        connection.sendall(f"{number}\n".encode())


def serve(path: str, began_with: dict[str, str]) -> tuple[dict[str, Any], list[int]]:
    """Forks for each process that is asked for; comes back in the forked ones alone, with what was asked and the streams."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(64)
    waking, woken = socket.socketpair()
    for end in (waking, woken):
        end.setblocking(False)
    signal.set_wakeup_fd(woken.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    for what in (listening, waking, sys.stdin):
        selector.register(what, selectors.EVENT_READ)
    here = str(Path(sys.modules["components"].__file__ or "").parents[1])
    alive: dict[int, socket.socket] = {}
    os.write(1, b"ready\n")
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                os._exit(0)  # whoever started this is gone
            elif key.fileobj is waking:
                waking.recv(4096)
            elif key.fileobj is listening:
                connection, _ = listening.accept()
                asked, streams = received(connection)
                if asked is None:
                    connection.close()
                elif not is_as_here(asked, here, began_with):
                    tells(connection, 0)
                    connection.close()
                elif pid := os.fork():
                    alive[pid] = connection
                    selector.register(connection, selectors.EVENT_READ, pid)
                    tells(connection, pid)
                else:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    selector.close()
                    for held in (listening, waking, woken, connection, *alive.values()):
                        held.close()
                    return asked, streams
                for stream in streams:
                    os.close(stream)
            elif key.data in alive:
                os.kill(key.data, signal.SIGKILL)  # its window was killed
                selector.unregister(key.fileobj)
        while alive and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            connection = alive.pop(ended[0])
            if connection.fileno() in selector.get_map():
                selector.unregister(connection)
            tells(connection, os.waitstatus_to_exitcode(ended[1]))
            connection.close()


def ends(kind: str, what: str, rest: list[str]) -> NoReturn:
    """The command, and what Python does at its end; but for taking 3,000 modules apart, which costs a second."""
    code: Any = 0
    try:
        runs(kind, what, rest)
    except SystemExit as e:
        code = e.code
    except BaseException as e:
        within = e.__traceback__ and e.__traceback__.tb_next and e.__traceback__.tb_next.tb_next
        sys.excepthook(type(e), e.with_traceback(within), within)
        code = -signal.SIGINT if isinstance(e, KeyboardInterrupt) else 1
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it, or it is closed
            stream.flush()
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit((code or 0) & 255)


if __name__ == "__main__":
    import gc

    began_with = at_import(dict(os.environ))
    imports()
    gc.collect()
    gc.freeze()
    asked, streams = serve(sys.argv[1], began_with)
    becomes(asked, streams)
    ends(*asked["command"])
