"""The commands are the modules that say they are: nothing else lists them."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import components.cli
from components.cli.complete import candidates
from components.cli.verbs import GROUPS, verbs


def test_every_module_that_runs_words_is_a_verb():
    for file in sorted(Path(components.cli.__file__).parent.glob("[a-z]*.py")):
        module = import_module(f"components.cli.{file.stem}")
        is_command = hasattr(module, "add_arguments") and hasattr(module, "run")
        assert is_command == (file.stem in verbs()), file.name


def test_what_a_verb_says_is_known():
    for verb in verbs().values():
        assert verb.group in GROUPS
        assert {*verb.takes} <= {"recipe", "run", "overrides"}
        assert verb.sentence
        assert verb.sentence[-1] != "."
    assert next(iter(verbs())) == "train"


def test_the_overview_imports_no_command():
    code = "import sys, components.cli as c; c.main([]); print([m for m in sys.modules if m.startswith('components.cli.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "['components.cli.verbs']"


def test_whatever_takes_a_run_completes_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "runs" / "tiny" / "now" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("")
    for name, verb in verbs().items():
        assert (candidates([name, "runs/"]) == ["runs/tiny/now"]) == ("run" in verb.takes), name
