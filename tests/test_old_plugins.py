"""A package that an earlier release's ``components new`` began works unchanged: old module names still mean the same modules."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import components
from components.core import moved

pytestmark = pytest.mark.usefixtures("warm_processes")

PLUGIN = Path(__file__).parent / "old_plugins" / "my_attention"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package as pip would leave it, on PYTHONPATH; and a cache of its own."""
    site = tmp_path / "site"
    shutil.copytree(PLUGIN / "src", site)
    info = site / "my_attention-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-attention\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[components]\nmy_attention = my_attention.part\n")
    (info / "RECORD").write_text("")
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("COMPONENTS_CACHE", str(tmp_path / "cache"))
    return site


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd="/", timeout=200)


@pytest.mark.usefixtures("installed")
def test_it_is_listed_validated_and_its_own_tests_pass():
    assert "[my-attention]" in run("-m", "components", "list", "attention").stdout
    done = run("-m", "components", "validate", "recipe=llama_tiny", "model/attention=my_attention")
    assert done.stdout.splitlines()[-1] == "valid", done.stderr
    # the whole battery: some twenty small models
    tests = run("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(PLUGIN / "tests"))
    assert tests.returncode == 0, tests.stdout[-2000:]
    assert "100%" in tests.stdout


@pytest.mark.parametrize("name", sorted(moved.MOVED))
def test_an_old_name_is_the_module_itself(name):
    code = f"import {name} as old, {moved.MOVED[name]} as new; assert old is new; assert new.__spec__.name == '{moved.MOVED[name]}'"
    done = run("-c", code)
    assert done.returncode == 0, done.stderr


def test_other_names_are_not_found():
    assert run("-c", "import components.socket").returncode != 0


def test_the_public_names_stay():
    for name in ("register", "build", "train", "load", "load_recipe", "evaluate", "explain", "declare_kind", "preset"):
        assert callable(getattr(components, name)), name
