"""With dropout, 1, 2 and 4 processes train the same model: what is dropped belongs to the samples."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import dropped
import rank_server

SCRIPT = Path(__file__).parent / "dropped.py"
TEXT = "\n\n".join(f"the {w} number {i} is here" for i in range(120) for w in ("tree", "stone", "river"))


def launch(ranks: int, folder: Path) -> None:
    rank_server.launch(ranks, SCRIPT, str(folder), folder=folder)


@pytest.mark.timeout(800)
def test_any_number_of_processes_drops_the_same(tmp_path, monkeypatch):
    """Half a minute: nine runs of ten steps in two launches, and three here. What layers compute once more changes no bit of it."""
    (tmp_path / "text.txt").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    dropped.main(tmp_path, 1)
    for ranks in (2, 4):
        launch(ranks, tmp_path)
    for mixers, count in {"one": 8, "several": 4}.items():
        one = torch.load(tmp_path / f"{mixers} auto 1 1 false.pt")
        others = sorted(tmp_path.glob(f"{mixers} *.pt"))
        assert len(others) == count
        for file in others:
            other = torch.load(file)
            assert max((w - other[n]).abs().max().item() for n, w in one.items()) < 1e-9, file.stem
    for layout, ways in {"ddp 2 2": ("selective",), "fsdp2 2 1": ("2", "selective")}.items():
        kept = torch.load(tmp_path / f"one {layout} false.pt")
        for way in ways:
            other = torch.load(tmp_path / f"one {layout} {way}.pt")
            assert all(torch.equal(w, other[n]) for n, w in kept.items()), f"{layout} {way}"
