"""All sources that need no file: the same in every process, and ready to be prepared. What each declares is held by the battery in test_every_part."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from components import build
from components.core import registry
from components.core.signature import REQUIRED
from components.corpus.examples import prepare_examples

pytestmark = pytest.mark.usefixtures("warm_processes")

BUILT_IN = {
    name: tuple(e.signature.declared["provides"])
    for (_, name), e in registry.entries("data").items()
    if e.origin == "components" and not any(o.default == REQUIRED for o in e.signature.options.values())
}
READ = """
import hashlib, sys
from itertools import islice
from components import build
for name in sys.argv[1:]:
    source = build("data", name)
    ways = [getattr(source, w) for w in ("documents", "examples") if hasattr(source, w)]
    found = [list(islice(way(), 3000)) for way in ways]
    print(name, source.fingerprint(), hashlib.sha256(repr(found).encode()).hexdigest(), getattr(source, "labels", ()))
"""


def test_there_are_sources():
    assert set(BUILT_IN) >= {"babel_dates", "digits", "gettext", "language_id", "leaf_flower", "python_instructions", "rhyme"}


def test_two_processes_read_the_same():
    runs = []
    for seed in "0", "1":
        env = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", READ, *sorted(BUILT_IN)]
        runs.append(subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout.splitlines())
    assert runs[0] == runs[1]
    assert len(runs[0]) == len(BUILT_IN)


@pytest.mark.parametrize("name", ["babel_dates", "digits", "language_id", "leaf_flower"])
def test_examples_become_a_corpus(name, tmp_path):
    labelled = "labels" in BUILT_IN[name]
    tokenizer = "none" if "values" in BUILT_IN[name] else "byte"
    options = {"count": 300} if name == "babel_dates" else {"languages": ["de", "fr"]} if name == "language_id" else {}
    made = [
        prepare_examples(build("data", name, **options), build("tokenizer", tokenizer), cache=tmp_path, labelled=labelled)
        for _ in range(2)
    ]
    assert (made[0].train, made[0].hash) == (made[1].train, made[1].hash)
    assert len(made[0].train) > len(made[0].validation) > 0
    assert not {str(e.input) for e in made[0].train} & {str(e.input) for e in made[0].validation}
    assert tuple(made[0].labels) == tuple(getattr(build("data", name, **options), "labels", ()))
