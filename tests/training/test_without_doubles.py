"""A device without fp64 (Apple's GPUs): training with every optimizer, validation, decoding with every sampler, every part."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from components import build
from components.core.sockets import SequenceInfo
from components.functional.precision import widest
from components.runs import random_state

pytestmark = pytest.mark.usefixtures("warm_processes")

TESTS = Path(__file__).parent.parent


def test_everything_runs_on_a_device_that_has_none():
    """A process of its own, since it registers a device. About 25 s: the whole shelf passes through it, part by part."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "on_single.py"], cwd=TESTS, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert ran.stdout.strip().splitlines()[-1:] == ["nothing failed"], ran.stdout[-3000:] + ran.stderr[-3000:]


def test_sums_are_doubles_where_there_are_some():
    assert widest(torch.device("cpu")) == widest(torch.device("cuda", 0)) == torch.float64
    assert widest(torch.device("mps")) == torch.float32


def test_expert_choice_counts_in_whole_numbers():
    """100 tokens at 0.07 experts each are 7 choices, where floats make 7.000000000000001 of them and round up; padded as unpadded."""
    router = build("router", "expert_choice", d_model=4, n_experts=1, capacity=0.07)
    assert [router.taken(n) for n in (100, 200, 3)] == [7, 14, 1]
    x, valid = torch.randn(1, 120, 4), (torch.arange(120) < 100)[None]
    assert int(router(x, SequenceInfo(valid=valid)).kept.sum()) == 7
    assert build("router", "expert_choice", d_model=4, n_experts=2, capacity=1e-9).taken(10) == 1


def test_the_generator_of_every_kind_of_device_is_saved(monkeypatch):
    held = {}
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: torch.tensor([1, 2, 3], dtype=torch.uint8))
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: held.update(state=state))
    state = random_state.here(torch.device("mps"))
    random_state.restore(state, torch.device("mps"))
    assert held["state"].tolist() == [1, 2, 3]
    random_state.restore(random_state.here(torch.device("cpu")), torch.device("mps"))  # saved elsewhere: nothing to restore
