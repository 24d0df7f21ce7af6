"""bench/growth.py and bench/profiling.py run, on sizes too small to time; docs/performance.md has the section of the kept figures."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from bench_scripts import script

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def growth(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module("growth")
    for name in ("growth", "section"):
        sys.modules.pop(name, None)


def test_the_section_is_what_was_measured(growth):
    kept = json.loads(growth.FIGURES.read_text(encoding="utf8"))
    page = growth.section.PAGE.read_text(encoding="utf8")
    assert growth.section.placed(page, "growth", growth.text(kept)) == page, "python bench/growth.py --render"
    assert set(kept["series"]) == set(growth.THEORY)


def test_a_power_is_found_and_a_fault_is_named(growth):
    def points(power):
        return {str(n): {"ms": 3.0 * n**power, "mb": 2.0 * n} for n in (128, 256, 512, 1024)}

    assert growth.exponent(points(1.3), "ms") == pytest.approx(1.3)
    assert growth.faults({"context, windowed": points(1.0)}) == []
    (fault,) = growth.faults({"context, windowed": points(2.0), "context, full": points(2.0)})
    assert fault.startswith("context, windowed: time grows with the power 2.00")


def test_memory_is_what_tensors_hold_at_once(growth):
    x = torch.ones(1000)
    with growth.Held() as held:
        for _ in range(5):
            y = x + 1  # while it is made, the one before is there
            (y.view(10, 100)[2:] * 1).sum()
        del y
    assert held.most == 4000 + 4000
    assert held.now == 0
    with growth.Held() as held:
        w = x.clone().requires_grad_()
        (w.exp() * 2).sum().backward()  # the exponential is kept for the backward pass
    assert held.most >= 4 * 4000


def test_growth_measures_a_step_and_tokens(growth):
    point = growth.of_step(growth.step_of(length=16, d_model=8))
    assert point["ms"] > 0
    assert 0 < point["mb"] < 1
    assert list(growth.of_tokens("windowed", (8, 16), tokens=2)) == ["8", "16"]


def test_the_profile_gives_each_operation_to_its_part():
    bench = script("profiling")
    words = [*bench.SHAPES["a"][0], "model.d_model=12", "model.n_layers=1", "model.context_length=8"]
    parts, operations = bench.shares(*bench.training(words, 2, 16, "fp32", 1))
    assert {"attention", "ffn", "norm", "embedding", "head", "loss", "optimizer"} <= set(parts)
    assert parts["ffn"].backward > 0
    assert ("ffn", "aten::gelu") in operations
    assert any(part == "ffn" and name.startswith("Gelu") for part, name in operations)
    assert ("attention", "aten::gelu") not in operations
    table = bench.table(parts, operations, 3)
    assert table.startswith("| part | share |")
    parts, _ = bench.shares(*bench.decoding(words, 16, 3))
    assert parts["attention"].forward > 0
    assert parts["attention"].backward == 0


def test_what_a_step_takes_is_counted_both_ways(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    bench = script("allocator")
    words = [*script("profiling").SHAPES["a"][0], "model.d_model=12", "model.n_layers=1", "model.context_length=8"]
    taken = bench.taken(words, 2, 16, 1, kept=False)  # the other way would hold for all tests of this process
    assert taken.seconds > 0
    assert taken.memory > 100
    rounds = [
        (bench.Taken(2.0, 100.0, 10.0), bench.Taken(1.0, 1.0, 11.0)),
        (bench.Taken(2.0, 300.0, 10.0), bench.Taken(1.5, 1.0, 11.0)),
    ]
    assert "| (a) | 200, 1 | 2.00, 1.25 | 0.62 | 0.50–0.75 | 10, 11 |" in bench.table({"a": rounds})


def test_every_table_has_a_command_that_writes(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCH))
    bench = script("all")
    for name in bench.COMMANDS:
        assert '"--write"' in (BENCH / f"{name}.py").read_text(encoding="utf8")
    ran = []
    monkeypatch.setattr(bench.subprocess, "run", lambda *a, **k: ran.append((a, k)))
    monkeypatch.setattr(sys, "argv", ["all.py"])
    bench.main()
    assert not ran
    assert "python bench/growth.py --write" in capsys.readouterr().out


def test_a_library_without_an_environment_is_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    environments = importlib.import_module("environments")
    assert environments.python_of("litgpt", tmp_path) is None
    python = tmp_path / "litgpt" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert environments.python_of("litgpt", tmp_path) == python
    sys.modules.pop("environments")
