"""One thread per test process, a cache of the tests' own, no network, no W&B account, no SLURM."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm_server

collect_ignore = ["old_plugins"]  # packages with tests of their own, which test_old_plugins runs
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("COMPONENTS_CACHE", str(Path(__file__).parents[1] / ".cache" / "tests"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
for name in [n for n in os.environ if n.startswith("SLURM_")]:
    del os.environ[name]


@pytest.fixture(autouse=True)
def _no_ranks_are_left() -> Iterator[None]:
    """A test that leaves a process group or its port makes the ranks of a later test meet there."""
    yield
    distributed = sys.modules.get("torch.distributed")
    assert distributed is None or not distributed.is_initialized(), "the test has left its process group"
    assert "MASTER_PORT" not in os.environ, "the test has left MASTER_PORT in the environment"


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
