"""Small runs and ranks, for the tests of training."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import rank_server
from tiny_runs import make_tiny


@pytest.fixture
def server() -> Iterator[rank_server.Server]:
    """Starts ranks in a second each, and leaves none."""
    with rank_server.Server() as started:
        yield started


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``make_tiny`` in the test's own folder."""
    return make_tiny(tmp_path)
