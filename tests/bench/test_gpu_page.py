"""``make gpu`` without a GPU: every line of its script runs on a CPU, its page shows what fails, and docs/gpu.md says that nobody has run it until somebody has."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        yield importlib.import_module("gpu"), importlib.import_module("gpu_sections")
    finally:
        sys.path.remove(str(ROOT / "bench"))


def test_the_page_says_that_nobody_has_run_it_until_somebody_has(bench):
    gpu, _ = bench
    kept = json.loads(gpu.FIGURES.read_text(encoding="utf8")) if gpu.FIGURES.exists() else None
    text = gpu.PAGE.read_text(encoding="utf8")
    assert text == gpu.page(kept), "python bench/gpu.py --render"
    assert ("Nobody has run this yet" in text) == (kept is None)
    assert kept is None or not kept["trial"]


LINES = {"parts": 2, "kernels": 29, "models": 12, "graphs": 1, "fsdp2": 2, "speed": 8}
NOT_ON_A_CPU = {"varlen, documents, bfloat16", "varlen, documents, float16"}


@pytest.mark.parametrize("name", LINES)
def test_every_section_runs_on_a_cpu(bench, name, tmp_path, monkeypatch):
    """In this process, since six of their own would each import everything."""
    gpu, sections = bench
    if name == "speed":
        pytest.importorskip("transformers")
        peers = importlib.import_module("peers")
        for size in "LHDTVB":
            monkeypatch.setattr(peers, size, getattr(peers, size))  # put back when the test ends
    monkeypatch.chdir(tmp_path)
    out, precision = tmp_path / "lines", torch.get_float32_matmul_precision()
    try:
        sections.SECTIONS[name](sections.Page(out, 0, 1), "cpu", True)
    finally:
        torch.set_float32_matmul_precision(precision)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == LINES[name]
    assert {line["what"] for line in lines if line["fault"]} <= NOT_ON_A_CPU, lines
    known = {*gpu.SECTIONS[name].columns, "what", "fault", "order"}
    assert all(set(line) <= known for line in lines), "a figure that the page would not show"
    assert set(gpu.SECTIONS[name].columns) <= {key for line in lines for key in line}, "a column without a figure"


def test_it_writes_the_page_and_shows_what_fails(bench, tmp_path, monkeypatch):
    """A section that holds, one that dies and one that does not end, each in its process; the others are on the page all the same."""
    gpu, _ = bench
    sections = {
        "parts": gpu.SECTIONS["parts"],
        "no_such": gpu.SECTIONS["graphs"],
        "speed": replace(gpu.SECTIONS["speed"], seconds=0),
    }
    monkeypatch.setattr(gpu, "SECTIONS", sections)
    page = tmp_path / "gpu.md"
    assert gpu.main(["--device", "cpu", "--small", "--page", str(page)]) == 0
    text = page.read_text(encoding="utf8")
    assert "| cache/static | 8 of 8 | holds |" in text
    assert "ended with code 1: KeyError: 'no_such'" in text
    assert "stopped after 0 s" in text
    assert "sections that did not end well: no_such, speed." in text
    assert "no measurement" in text
    assert f"torch {torch.__version__}" in text


def test_a_line_that_fails_is_shown_and_hides_no_other(bench, tmp_path):
    gpu, sections = bench
    page = sections.Page(tmp_path / "lines", 0, 1)
    with page.line("first") as figures:
        figures["losses differ by"] = "1e-1"
        raise AssertionError("losses | differ")
    with page.line("second") as figures:
        figures["losses differ by"] = "0"
    ran = gpu.Ran(lines=[json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()])
    text = gpu.page({"machine": "m", "trial": False, "seconds": 1.0, "sections": {"models": asdict(ran)}})
    assert "| first | 1e-1 |  | **fails**: losses \\| differ |" in text
    assert "| second | 0 |  | holds |" in text
    assert "Lines that do not hold: 1;" in text
    assert "no measurement" not in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so():
    said = subprocess.run([sys.executable, "bench/gpu.py"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert said.returncode == 0
    assert said.stdout == "there is no CUDA device here: nothing was run, and docs/gpu.md stays as it is\n"


def test_it_takes_less_than_eight_minutes(bench):
    assert sum(section.seconds for section in bench[0].SECTIONS.values()) < 8 * 60 - 15
