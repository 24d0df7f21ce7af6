"""Adding a norm is one file of at most 40 lines: it is then listed, shown, completed, composed, and held to the contract."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = '''"""Max norm: divide each vector by its largest absolute value, then scale every channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat


@register("norm", "largest")
class Largest(nn.Module):
    """Max norm: divide each vector by its largest absolute value, then scale every channel.

    Args:
        eps: added to the largest value.

    Shapes: (..., D) -> (..., D).
    """

    axes = {"weight": ("d_model",)}

    def __init__(self, dim: int, *, eps: PositiveFloat = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x / (x.abs().amax(-1, keepdim=True) + self.eps) * self.weight
'''


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the checkout, so that other tests do not see the part; one file more."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("src", "conf", "recipes", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / "src" / "components" / "parts" / "norm" / "largest.py").write_text(SOURCE)
    return copy


def python(checkout: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "COMPONENTS_CACHE": str(checkout / "cache")}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=checkout, env=environment, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_file_is_short():
    assert len(SOURCE.splitlines()) <= 40


def test_it_is_listed_shown_completed_and_composed(checkout):
    listed = json.loads(python(checkout, "-m", "components", "list", "--json"))
    assert listed["norm"]["largest"]["sentence"].startswith("Max norm:")
    assert "added to the largest value" in python(checkout, "-m", "components", "show", "norm/largest")
    assert python(checkout, "-m", "components", "complete", "--", "train", "model/norm=lar").split() == [
        "model/norm=largest",
    ]
    assert python(checkout, "-m", "components", "complete", "--", "train", "model/norm=largest", "model.norm.").split() == [
        "model.norm.eps="
    ]
    out = python(checkout, "-m", "components", "validate", "model/norm=largest", "model.norm.eps=1e-4")
    assert "model.norm" in out
    assert "valid" in out


def test_it_is_held_to_the_common_contract(checkout):
    out = python(
        checkout, "-m", "pytest", "tests/test_every_part.py", "tests/test_signatures.py", "-k", "largest and not compiles"
    )
    passed = int(out.split(" passed")[0].split()[-1])
    assert passed > 20, out
    checked = python(checkout, "-m", "components", "check", "norm/largest", "eps=1e-4").splitlines()
    assert checked[0].startswith("norm/largest in a decoder")
    assert checked[-1].endswith("properties, all hold")
