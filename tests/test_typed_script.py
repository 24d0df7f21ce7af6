"""What an editor knows of a user's script: pyright reads tests/typed_script.py, and shows the types that its comments say."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import components

HERE = Path(__file__).parent
SCRIPT = HERE / "typed_script.py"
UNKNOWN_KIND = {"build"}  # of a kind that is not ours nobody knows the contract


def test_an_editor_shows_these_types(tmp_path):
    """pyright starts in a few seconds; most of a slow minute is its reading of torch."""
    pyright = shutil.which("pyright", path=str(Path(sys.executable).parent)) or shutil.which("pyright")
    if pyright is None:
        pytest.skip("there is no pyright here")
    lines = SCRIPT.read_text(encoding="utf8").splitlines()
    (tmp_path / "typed_script.py").write_text("\n".join(lines), encoding="utf8")
    settings = {"include": ["typed_script.py"], "extraPaths": [str(HERE.parent / "src")]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [pyright, "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    if not done.stdout.startswith("{"):
        pytest.skip(f"pyright does not run here: {done.stderr[-200:]}")  # it needs node
    said: dict[int, str] = {}
    for found in json.loads(done.stdout)["generalDiagnostics"]:
        shown = re.search(r'is "([^"]*)"$', found["message"])
        said[found["range"]["start"]["line"]] = "error" if found["severity"] == "error" else shown.group(1)
    expected = {n: line.partition("  # ")[2] for n, line in enumerate(lines) if "  # " in line}
    assert len(expected) > 30
    assert said == expected


@pytest.mark.parametrize("name", sorted(set(components._PUBLIC) - UNKNOWN_KIND))
def test_no_public_signature_says_any(name):
    public = getattr(components, name)
    public = getattr(public, name, public) if inspect.ismodule(public) else public
    if inspect.ismodule(public):
        return  # callbacks, strategies, tasks: what they hold is named there
    signature = inspect.signature(public)
    returned = [] if inspect.isclass(public) else [str(signature.return_annotation)]
    said = [str(p.annotation) for p in signature.parameters.values()] + returned
    assert not [text for text in said if re.search(r"\bAny\b|_empty", text)], said


@pytest.mark.parametrize("owner", ["Loaded", "Recipe"])
def test_no_method_of_what_they_return_says_any(owner):
    from components.training import run

    kept = getattr(run, owner)
    said = [*inspect.get_annotations(kept).values()]
    for method in (m for n, m in vars(kept).items() if inspect.isfunction(m) and not n.startswith("_")):
        said += inspect.get_annotations(method).values()
    assert said
    assert not [text for text in said if re.search(r"\bAny\b", text)]
