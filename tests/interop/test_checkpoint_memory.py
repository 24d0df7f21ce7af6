"""A checkpoint is imported and opened without holding its weights twice: pages of mapped files count, too."""

from __future__ import annotations

import sys

import pytest
import torch
from bench_scripts import script

from components.core.on_demand import OnDemand, outline

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak is counted by /proc")


def test_a_model_is_held_once(tmp_path):
    """In a process of its own, 100 MB in bf16 whose q, k, v and gate, up lie in one tensor each."""
    bench = script("checkpoint_memory")
    found = bench.measured(next(name for name in bench.CASES if name.startswith("Phi-3")), 100, tmp_path)
    assert found.pop("mb") > 90
    assert {what: share for what, share in found.items() if not 0.5 < share <= 1.1} == {}


def test_what_is_on_demand_is_read_when_it_is_asked_for():
    read = []
    held = OnDemand({"a": torch.empty(3, device="meta")}, lambda name: (read.append(name), torch.ones(3))[1])
    assert outline(held)["a"].shape == (3,)
    assert (list(held), len(held), read) == (["a"], 1, [])
    assert held["a"].sum() == 3
    with pytest.raises(KeyError):
        held["b"]
    assert read == ["a"]
