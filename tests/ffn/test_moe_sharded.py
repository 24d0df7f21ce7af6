"""Mixture of experts over two processes; in a file of its own, since starting them takes longer than all of its other tests."""

from __future__ import annotations

from test_contracts import run_two


def test_under_fsdp2_it_is_exact():
    """Two processes, sharded layers, with and without checkpointing: the gradients and loads of one process."""
    lines = run_two("ffn/fsdp_moe.py")
    assert len(lines) == 2
    assert all(float(line.split()[1]) < 1e-4 for line in lines), lines
