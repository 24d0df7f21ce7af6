"""A process leaves with its exit handlers run, its threads waited for and its code kept, without taking the interpreter apart."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import atexit, sys, threading, time
from components.core.exit import hard_exit, process_group_open
class Late:
    def __del__(self):
        print("taken apart")  # what sys.exit would do
kept = Late()
kept.itself = kept
atexit.register(print, "handler")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
assert not process_group_open() and "torch" not in sys.modules
print("done")
{leave}
"""


@pytest.mark.parametrize(("how", "last"), [("hard_exit(3)", "handler"), ("sys.exit(3)", "taken apart")])
def test_what_happens_before_a_process_is_gone(how, last):
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(leave=how)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert done.stdout.split("\n")[:3] == ["done", "thread", "handler"]
    assert done.stdout.split("\n")[-2] == last


def test_a_group_is_noticed(tmp_path):
    script = (
        "import torch.distributed as dist\nfrom components.core.exit import process_group_open\nassert not process_group_open()\n"
        f"dist.init_process_group('gloo', init_method='file://{tmp_path}/store', rank=0, world_size=1)\nassert process_group_open()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
