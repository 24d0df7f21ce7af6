"""What pyright says: no error in all of src, and of a user's script, tests/typed_script.py, the types that its comments say."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import components

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tests" / "typed_script.py"
UNKNOWN_KIND = {"build"}  # of a kind that is not ours nobody knows the contract


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[Path, dict[int, dict]]:
    """{file: {line: what pyright says of it}} of all of src and of the script: read together, since most of either is reading torch."""
    pyright = shutil.which("pyright", path=str(Path(sys.executable).parent)) or shutil.which("pyright")
    if pyright is None:
        pytest.skip("there is no pyright here")
    folder = tmp_path_factory.mktemp("typed")
    (folder / SCRIPT.name).write_text(SCRIPT.read_text(encoding="utf8"), encoding="utf8")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["pyright"]
    read = [os.path.relpath(ROOT / one, folder) for one in settings["include"]]
    settings = {**settings, "include": [*read, SCRIPT.name], "extraPaths": [str(ROOT / "src")], "venvPath": str(ROOT)}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [pyright, "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
    if not done.stdout.startswith("{"):
        pytest.skip(f"pyright does not run here: {done.stderr[-200:]}")  # it needs node
    answer = json.loads(done.stdout)
    assert answer["summary"]["filesAnalyzed"] > 500
    said: dict[Path, dict[int, dict]] = {}
    for one in answer["generalDiagnostics"]:
        said.setdefault(Path(one["file"]), {})[one["range"]["start"]["line"]] = one
    return said


@pytest.mark.timeout(1000)
def test_pyright_finds_no_error_in_all_of_src(found):
    """A minute and a half, most of it in the fixture: this is the check of types of `make lint`, beside the other tests."""
    wrong = [
        f"{file}:{line + 1}: {one['message']}"
        for file, lines in found.items()
        for line, one in lines.items()
        if one["severity"] == "error" and file.name != SCRIPT.name
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.timeout(1000)
def test_an_editor_shows_these_types(found):
    said: dict[int, str] = {}
    for line, one in next(lines for file, lines in found.items() if file.name == SCRIPT.name).items():
        shown = re.search(r'is "([^"]*)"$', one["message"])
        said[line] = "error" if one["severity"] == "error" else shown.group(1)
    lines = SCRIPT.read_text(encoding="utf8").splitlines()
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
