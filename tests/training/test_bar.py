"""The bar: redrawn in place on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io

from components.core import bar as module
from components.core.bar import Bar, span


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def clock(monkeypatch, times):
    ticking = iter(times)
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(ticking))


def test_on_a_terminal_one_line_is_redrawn_at_most_twice_a_second(monkeypatch):
    clock(monkeypatch, [10.0, 10.1, 10.4, 10.6, 10.7])
    out = Terminal()
    bar = Bar(out)
    bar.start(0, 100, 0.0)
    bar.figures({"train_loss": 3.21, "tokens_per_second": 4567.0})
    for step in (10, 20, 30, 40):
        bar.update(step, step / 10)
    bar.say("validation")
    bar.update(100, 10.0)
    bar.stop()
    shown = out.getvalue()
    drawn = [line for line in shown.split("\r\x1b[K") if line.startswith("step")]
    assert [d.split()[1] for d in drawn] == ["10/100", "40/100", "100/100"]
    assert "loss 3.210" in drawn[0]
    assert "4,567 tokens/s" in drawn[0]
    assert "0:09 left" in drawn[0]  # 10 steps took a second
    assert "validation\nstep 40/100" in shown  # what is said stands above the bar
    assert shown.endswith("\n")


def test_elsewhere_lines_now_and_then_and_at_the_end(monkeypatch):
    clock(monkeypatch, [0.0, 1.0, 11.0, 12.0, 13.0])
    out = io.StringIO()
    bar = Bar(out)
    bar.start(5, 20, 0.0)
    for step in (6, 10, 11, 20):
        bar.update(step, float(step))
    assert [line.split()[1] for line in out.getvalue().splitlines()] == ["10/20", "20/20"]
    assert "\x1b" not in out.getvalue()


def test_a_step_before_training_is_one_line_on_a_terminal(monkeypatch):
    clock(monkeypatch, [100.0, 101.0, 101.1, 102.0])
    bar = Bar(out := Terminal())
    for done in (0, 10, 20, 40):
        bar.task("reading", done, 40)
    assert out.getvalue().count("reading") == 3


def test_elsewhere_only_a_long_step_is_told(monkeypatch):
    """What is short says nothing: an error that follows is then all that a script finds."""
    clock(monkeypatch, [0.0, 1.0, 2.0, 3.0, 12.0, 14.0, 24.5, 25.0])
    bar = Bar(out := io.StringIO())
    bar.task("reading", 0, 40)
    bar.task("reading", 40, 40)
    for done in (0, 10, 20, 30, 40, 50):
        bar.task("tokenising", done, 50)
    assert out.getvalue() == "tokenising: 20 of 50\ntokenising: 40 of 50\ntokenising: 50\n"


def test_spans():
    assert [span(s) for s in (0, 65, 3600 + 61)] == ["0:00", "1:05", "1:01:01"]
