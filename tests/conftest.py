"""One thread per test process, a cache of the tests' own, no network, no W&B account, no SLURM."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm_server

from components.runs import curves

collect_ignore = ["old_plugins"]  # packages with tests of their own, which test_old_plugins runs
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("COMPONENTS_CACHE", str(Path(__file__).parents[1] / ".cache" / "tests"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
for name in [n for n in os.environ if n.startswith("SLURM_")]:
    del os.environ[name]

DOT = "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63f80f0001010100b138f6140000000049454e44ae426082"
"""A PNG of one white pixel."""


@pytest.fixture(autouse=True)
def _left_as_it_was() -> Iterator[None]:
    """A test that leaves a process group or its port makes the ranks of a later test meet there. A command that was stopped is deaf to SIGTERM until it
    has ended; the test that called it here goes on, and starts processes that would be deaf too."""
    heard = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, heard)
    distributed = sys.modules.get("torch.distributed")
    assert distributed is None or not distributed.is_initialized(), "the test has left its process group"
    assert "MASTER_PORT" not in os.environ, "the test has left MASTER_PORT in the environment"


def _dot(runs: dict, file: Path, title: str) -> None:  # noqa: ARG001  as draw
    file.write_bytes(bytes.fromhex(DOT))


@pytest.fixture(autouse=True)
def _pictures_are_dots(monkeypatch) -> None:
    """matplotlib takes half a second of a core for each run's curves, more than ten steps do; runs of module fixtures draw them."""
    monkeypatch.setattr(curves, "draw", _dot)


@pytest.fixture(scope="module")
def warm_processes() -> Iterator[None]:
    """The processes that this file's tests start have imported everything already (`warm_server`), those that they start too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(warm_server.ADDRESS, warm_server.address())
        patch.setenv("PYTHONPATH", warm_server.on_path(os.environ.get("PYTHONPATH", "")))
        yield


@pytest.fixture
def cold_processes(monkeypatch) -> None:
    """Those of this test have not, in a file whose others have."""
    monkeypatch.delenv(warm_server.ADDRESS, raising=False)
