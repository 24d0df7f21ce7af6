"""A run that is killed at any instant goes on from a whole checkpoint, and ends as if nobody had killed it."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import killed


def test_six_random_instants(tmp_path):
    """Takes about 25 s: two whole runs, and for each instant what is left of two."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # pytest shows it where the test fails
    counts = killed.many(6, tmp_path, seed)
    assert counts.kills == 6


@pytest.mark.slow
def test_twenty_random_instants(tmp_path):
    """Takes two minutes."""
    counts = killed.many(20, tmp_path, 1)
    assert counts.in_training + counts.while_writing >= 5


@pytest.mark.slow
def test_twenty_random_instants_of_two_processes(tmp_path):
    """Takes four minutes. One of them is killed, or both."""
    counts = killed.many(20, tmp_path, 1, way="2")
    assert counts.in_training + counts.while_writing >= 5


@pytest.mark.slow
@pytest.mark.parametrize("way", ["2, sharded", "2, asynchronous"])
def test_twenty_random_instants_of_two_processes_that_write_shards(tmp_path, way):
    """Takes four minutes."""
    counts = killed.many(20, tmp_path, 1, way=way)
    assert counts.while_writing >= 3


def test_the_middle_of_writing_shards(tmp_path):
    """Takes ten seconds: a whole run, and for each way what is left of two. They end with the same bits."""
    draws = random.SystemRandom()
    counts, (expected, seconds) = killed.Counts(), killed.whole(tmp_path / "whole", "2, sharded")
    for way, victims in (("2, sharded", [0, 1]), ("2, asynchronous", [draws.randrange(2)])):
        after, met = draws.uniform(0.0, seconds * 0.8), draws.uniform(0.0, 0.01)
        print(f"{way}: {after}, {met}, {victims}")  # pytest shows it where the test fails
        killed.strike(tmp_path / way, after, False, expected, counts, victims, way, met)
    assert counts.kills == 2


def test_the_page_says_what_was_counted():
    held, text = json.loads(killed.FIGURES.read_text(encoding="utf8")), killed.PAGE.read_text(encoding="utf8")
    assert killed.page(text, killed.sentences(held)) == text
