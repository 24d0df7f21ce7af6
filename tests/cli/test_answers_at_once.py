"""What people wait for at the prompt answers at once: it never imports torch, Lightning or Hydra, and calls few functions of Python.

Calls are counted, since they are the same on a slow or busy machine. Where a list takes 0.3 s, a hundred thousand calls take a tenth of a second.
``show`` composes every recipe, for who uses the part, the first time.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MOST = {
    ("list",): 100_000,
    ("show", "attention/gqa"): 120_000,
    ("--help",): 20_000,
    ("complete", "--", "train", "model/attention="): 100_000,
}
COMMANDS = [
    [],
    ["--help"],
    ["--version"],
    ["list"],
    ["list", "--json"],
    ["list", "norm"],
    ["list", "recipe"],
    ["show", "attention/gqa"],
    ["show", "attention/gqa", "--json"],
    ["show", "norm/nope"],
    ["train", "--help"],
    ["validate", "--help"],
    ["completion", "bash"],
    ["complete", "--", "train", "model/attention="],
    ["complete", "--", "train", "model.attention."],
    ["complete", "--", "train", "--"],
]
PROBE = """
import json, sys
from components.cli import main
try:
    code = main(sys.argv[1:])
finally:
    heavy = [m for m in ("torch", "lightning", "pytorch_lightning", "hydra", "omegaconf", "numpy", "tokenizers") if m in sys.modules]
    print(json.dumps(heavy), file=sys.stderr)
"""


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_heavy_import(words):
    done = subprocess.run([sys.executable, "-c", PROBE, *words], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stderr.splitlines()[-1]) == []
    assert "Traceback" not in done.stderr


COUNTED = """
import contextlib, io, sys
count = 0
def seen(frame, event, _):
    global count
    count += event == "call"
sys.setprofile(seen)
from components.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(sys.argv[1:])
sys.setprofile(None)
print(count)
"""


@pytest.mark.parametrize("words", MOST, ids=" ".join)
def test_few_calls(words):
    """The second of two processes: the first fills the cache."""
    command = [sys.executable, "-c", COUNTED, *words]
    said = [subprocess.run(command, capture_output=True, check=True, text=True, timeout=120).stdout for _ in range(2)]
    assert 1000 < int(said[1]) <= MOST[words]
