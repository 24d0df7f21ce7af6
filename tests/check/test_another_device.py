"""No part puts a tensor on the CPU when its model is somewhere else: the battery on tensors that have a device and no values."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("warm_processes")

SCRIPT = Path(__file__).with_name("on_another_device.py")
SOME = ("attention/mamba2", "position/t5_bias", "cache/int8", "cache/ring", "cache/static")


def run(*words: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """In a process of its own: it makes a device and changes how modules are moved."""
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=timeout)


@pytest.mark.timeout(300)
def test_some_parts_do_not_mix_devices():
    done = run(*SOME, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DataDependentOutputException" in done.stdout  # they came as far as to look at a value


@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_no_part_mixes_devices():
    """All of them but three: a minute."""
    done = run(timeout=1900)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_sees_a_part_that_does():
    done = run("norm/faulty", timeout=280)
    assert done.returncode == 1
    assert "norm/faulty: ignores padding on the right mixes devices: " in done.stdout
