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
    counts = killed.many(20, tmp_path, 1, ranks=2)
    assert counts.in_training + counts.while_writing >= 5


def test_the_page_says_what_was_counted():
    held, text = json.loads(killed.FIGURES.read_text(encoding="utf8")), killed.PAGE.read_text(encoding="utf8")
    assert killed.page(text, killed.sentences(held)) == text
