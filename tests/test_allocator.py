"""Memory that a step frees stays for the next one: page faults are counted, since they are the same on a busy machine and seconds are not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from components.cli import main
from components.core import allocator

# twelve times what a step does with an activation of 40 MB
STEPS = """
import ctypes, resource, sys
from components.core import allocator
if sys.argv[1] == "kept":
    allocator.settle()
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def step():
    block = c.malloc(40 << 20)
    ctypes.memset(block, 1, 40 << 20)
    c.free(block)
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(12):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 12, allocator.settled)
"""
# every second of twenty blocks of 4 MB is freed, after a large one has taught glibc to put such blocks into its heap
HOLES = """
import ctypes, sys
from components.core import allocator
if sys.argv[1] == "given back":
    allocator.give_back()
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def held():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) / 1024
c.free(c.malloc(30 << 20))
before = held()
blocks = [c.malloc(4 << 20) for _ in range(20)]
for block in blocks:
    ctypes.memset(block, 1, 4 << 20)
for block in blocks[::2]:
    c.free(block)
print(held() - before)
"""
GLIBC = pytest.mark.skipif(allocator.glibc() is None, reason="not glibc's allocator")


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in allocator.given():
        monkeypatch.delenv(name)
    monkeypatch.setattr(allocator, "settled", "")


def faults(kept: str) -> tuple[float, str]:
    done = subprocess.run([sys.executable, "-c", STEPS, kept], capture_output=True, text=True, timeout=60, check=True)
    count, _, said = done.stdout.strip().partition(" ")
    return float(count), said


@GLIBC
def test_pages_stay():
    given_back, _ = faults("as it is")
    kept, said = faults("kept")
    assert given_back > 1000, "a page is 4 KiB: 10,240 of a block, fewer where pages are huge"
    assert kept < 10
    assert said == allocator.choice()


@GLIBC
def test_blocks_go_back_where_it_is_asked_for():
    left = {}
    for how in ("as it is", "given back"):
        done = subprocess.run([sys.executable, "-c", HOLES, how], capture_output=True, text=True, timeout=60, check=True)
        left[how] = float(done.stdout)
    assert left["as it is"] > 70, "or it is needed no more"
    assert left["given back"] < 50


@GLIBC
@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_what_the_user_says_stands(name, monkeypatch):
    monkeypatch.setenv(name, "glibc.malloc.arena_max=1" if name == "GLIBC_TUNABLES" else "1")
    count, said = faults("kept")
    assert said == f"as the environment says: {name}"
    if name == "MALLOC_ARENA_MAX":  # which says nothing of pages
        assert count > 1000


def test_another_allocator_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocator, "glibc", lambda: None)
    allocator.settle()
    assert allocator.settled == "as the system's allocator does: it is not glibc's"


def test_a_library_that_stands_in_its_place(monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libtcmalloc.so.4")
    assert allocator.glibc() is None


@pytest.mark.parametrize(("words", "chooses"), [("train model/norm=no", 1), ("generate no_run", 1), ("list", 0), ("doctor", 0)])
def test_who_chooses(words, chooses, monkeypatch, tmp_path):
    """Not what only looks."""
    monkeypatch.chdir(tmp_path)
    chosen: list[int] = []
    monkeypatch.setattr(allocator, "settle", lambda: chosen.append(1))
    main(words.split())
    assert len(chosen) == chooses
