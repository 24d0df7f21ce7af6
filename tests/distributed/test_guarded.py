"""callbacks.guard on two ranks: a row of one rank is no number, and both leave the step out, go back, or stop, as one process does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import rank_server

SCRIPT = Path(__file__).parent / "guarded.py"
TEXT = "\n\n".join(f"the {w} number {i} is here" for i in range(120) for w in ("tree", "stone", "river"))


def launch(ranks: int, folder: Path) -> None:
    rank_server.launch(ranks, SCRIPT, str(folder), folder=folder)


def causes(told: str) -> list[tuple[str, str]]:
    """Without whether it was seen by the loss or by the gradient's norm: of ranks the norm alone is known to all, unless spikes are looked for."""
    return [(line.split("  ")[0], line.partition(", first ")[2]) for line in told.splitlines()]


@pytest.mark.timeout(600)
def test_two_ranks_do_as_one_process_does(tmp_path):
    """Half a minute: six runs on two ranks and three on one, in two launches."""
    (tmp_path / "text.txt").write_text(TEXT)
    launch(1, tmp_path)
    launch(2, tmp_path)
    for name in ("skip", "rewind"):
        one = torch.load(tmp_path / "1" / f"auto {name}.pt")
        assert one["figures"]["faults"] == 2
        assert "first in the output of stack.layers.1.ffn_norm, sample 46: token " in one["told"]
        assert "first in the output of stack.layers.1.ffn_norm, sample 97: token " in one["told"]
        for strategy in ("ddp", "fsdp2"):
            two = torch.load(tmp_path / "2" / f"{strategy} {name}.pt")
            assert causes(two["told"]) == causes(one["told"])
            assert (two["figures"]["faults"], two["figures"].get("rewinds")) == (2, one["figures"].get("rewinds"))
            assert max((w - two["weights"][n]).abs().max().item() for n, w in one["weights"].items()) < 1e-9, strategy
    for file in ("1/auto stop.txt", "2/ddp stop.txt", "2/fsdp2 stop.txt"):
        told = (tmp_path / file).read_text()
        assert "at step 6, first in the output of stack.layers.1.ffn_norm, sample 46: token " in told
