"""A forked process is to its starter what one that began with Python is: arguments, variables, streams, exit codes, signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import warm_server

pytestmark = pytest.mark.usefixtures("warm_processes")
IS_WARM = "import sys; print('lightning' in sys.modules)"


def run(*words: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=60, **more)


def test_it_has_imported_everything_and_says_so_nowhere_else(tmp_path):
    assert run("-c", IS_WARM).stdout == "True\n"
    (tmp_path / "beside.py").write_text("what = 3")
    (tmp_path / "script.py").write_text(
        "import sys, os, beside\nprint(__name__, sys.argv, beside.what, os.environ['GIVEN'], os.getcwd())"
    )
    command = ["script.py", "a", "b c"]
    warm, cold = (
        run(*command, cwd=tmp_path, env={**os.environ, "GIVEN": "x", **more}) for more in ({}, {warm_server.ADDRESS: ""})
    )
    assert (warm.stdout, warm.stderr, warm.returncode) == (cold.stdout, cold.stderr, cold.returncode) != ("", "", 0)


def test_the_parent_is_who_started_it():
    assert run("-c", "import os; print(os.getppid())").stdout == f"{os.getpid()}\n"


@pytest.mark.parametrize(
    "source", ["import sys; sys.exit(3)", "raise SystemExit('why')", "1 / 0", "def f(): raise KeyError('k')\nf()", ""]
)
def test_its_end_is_that_of_a_cold_one(source):
    warm, cold = (run("-c", source, env={**os.environ, **more}) for more in ({}, {warm_server.ADDRESS: ""}))
    assert (warm.returncode, warm.stdout, warm.stderr) == (cold.returncode, cold.stdout, cold.stderr)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGKILL"])
def test_signals_come_through(name):
    """One that is handled, one that is not, and the death of the window, which takes the process with it."""
    source = "import os, signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: os._exit(9))\nprint(os.getpid(), flush=True)\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    forked = int(process.stdout.readline())
    process.send_signal(signal.Signals[name])
    assert process.wait(30) == (9 if name == "SIGUSR1" else -signal.Signals[name])
    assert process.stdout.read() == ""  # nobody holds the stream any more
    until = time.monotonic() + 30
    while Path(f"/proc/{forked}").exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_what_is_read_as_something_is_imported_starts_cold(tmp_path):
    """Another copy of the library, a variable of OpenMP or of hashes, an option of Python."""
    assert run("-c", IS_WARM, env={**os.environ, "OMP_NUM_THREADS": "7"}).stdout == "False\n"
    assert run("-c", IS_WARM, env={**os.environ, "PYTHONHASHSEED": "7"}).stdout == "False\n"
    assert run("-W", "ignore", "-c", IS_WARM).stdout == "False\n"
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "__init__.py").touch()
    assert run("-c", IS_WARM, env={**os.environ, "PYTHONPATH": warm_server.on_path(str(tmp_path))}).stdout == "False\n"


def test_who_dies_while_it_asks_hurts_nobody():
    for said in (b"", b"\x10\0\0\0\0\0\0\0{"):
        with socket.socket(socket.AF_UNIX) as asker:
            asker.connect(warm_server.address())
            asker.sendall(said)
    assert run("-c", IS_WARM).stdout == "True\n"


def test_cold_ones_are_cold(cold_processes):  # noqa: ARG001  a fixture
    assert run("-c", IS_WARM).stdout == "False\n"
