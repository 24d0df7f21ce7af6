"""A trained model is opened, continued, scored, exported and explained without Lightning: ``training/`` is imported by what trains."""

from __future__ import annotations

import subprocess
import sys

import pytest
import tiny_recipe

import components

COMMANDS = [
    ["generate", "{run}", "--prompt", "the tree", "--max-new-tokens", "2"],
    ["generate", "{run}", "--prompt", "the", "--max-new-tokens", "2", "decoding=speculative", "decoding.draft={run}"],
    ["generate", "{run}", "--score", "text.txt"],
    ["explain", "{run}", "--prompt", "the tree", "--max-new-tokens", "1"],
    ["export", "{run}", "--to", "exported"],
    ["consolidate", "{run}", "--to", "weights.safetensors"],
    ["merge", "{run}", "{run}", "--to", "merged"],
    ["runs"],
]
# training/run.py holds the public functions, and imports what trains where something is trained
PROBE = """
import sys
from components.cli import main
code = main(sys.argv[1:])
OURS = "components.training."
known = sorted(m for m in sys.modules if m.split(".")[0] in ("lightning", "pytorch_lightning") or m.startswith(OURS) and m != OURS + "run")
print(code, known[:3], file=sys.stderr)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        tiny_recipe.write(folder, patch)
        made = components.train("./tiny.yaml", ["trainer.max_steps=2", "task.samples=0", "task.validation_every=2"], quiet=True)
        return made.folder.resolve()


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_commands_that_use_a_model(run, words, monkeypatch):
    monkeypatch.chdir(run.parents[2])
    given = [w.format(run=run) for w in words]
    done = subprocess.run([sys.executable, "-c", PROBE, *given], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    code, _, known = done.stderr.strip().splitlines()[-1].partition(" ")
    assert code == "0", done.stderr
    assert known == "[]"


def test_load_from_python(run):
    code = f"import sys, components; components.load({str(run)!r}).generate('the', max_new_tokens=1); print('lightning' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr
