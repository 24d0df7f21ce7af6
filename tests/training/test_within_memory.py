"""A run that cannot fit in this machine's memory is refused before its first step, in one line that says what would fit; one that can is not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from components.core import memory
from components.core.errors import UserError
from components.training import within_memory
from components.training.estimate.estimating import Subject
from components.training.estimate.layouts import layout_of
from components.training.estimate.step import step_of
from components.training.experiment import Job, fit
from components.training.foreseen import foresee

LONG = {"model": {"context_length": 512}, "task": {"validation_fraction": 0.1}}


def peak(config, **trainer) -> int:
    """Bytes of a step whose documents are apart, as ``components plan`` estimates them."""
    settings = {**config["trainer"], **trainer}
    layout = layout_of(settings, 1)
    return Subject(config, foresee(config).vocab_size, apart=True).peak(layout, step_of(config, settings, layout)[0]).total


def test_what_cannot_fit_is_refused_before_anything_is_written(tiny, monkeypatch):
    config = tiny(**LONG)
    takes = peak(config)
    monkeypatch.setattr(memory, "free", lambda: takes // 2)
    with pytest.raises(UserError, match=r"^memory: a step of 8 rows of 512 tokens takes about .* are free here") as refused:
        fit(Job(config, "tiny", quiet=True))
    assert memory.shown(takes) in str(refused.value)
    assert len(refused.value.line()) <= 300
    assert "[...]" not in refused.value.line()
    assert not Path(config["paths"]["runs"]).exists()
    # what it says instead does fit
    pieces = int(re.search(r"the same step takes less with trainer.accumulate_grad_batches=(\d)", str(refused.value))[1])
    assert peak(config, accumulate_grad_batches=pieces) <= takes // 2 < takes / 1.2
    assert fit(Job(tiny(**LONG, trainer={"accumulate_grad_batches": pieces, "max_steps": 1}), "tiny", quiet=True)).folder


def test_what_may_fit_is_tried_and_told_of(tiny, monkeypatch, capsys):
    config = tiny(**LONG, trainer={"max_steps": 1})
    takes, asked = peak(config), []
    monkeypatch.setattr(within_memory, "most_of", lambda *of: asked.append(of) or (takes, "told"))
    monkeypatch.setattr(memory, "free", lambda: int(takes / 1.15))
    assert fit(Job(config, "tiny", quiet=False)).folder
    assert asked, "it was near enough to look"
    assert "told), and" in capsys.readouterr().out


def test_a_run_that_is_far_from_it_makes_no_estimate(tiny, monkeypatch):
    monkeypatch.setattr(within_memory, "most_of", lambda *_: pytest.fail("a second of every start"))
    config = tiny(**LONG, trainer={"max_steps": 1})
    monkeypatch.setattr(memory, "free", lambda: 40 * peak(config))
    assert fit(Job(config, "tiny", quiet=True)).folder


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"n_layers": 6}},
        {"model": {"d_model": 64, "context_length": 32}, "task": {"batch_size": 64}},
        {"model": {"context_length": 512, "attention": {"name": "talking_heads", "n_heads": 4}}},
        {"model": {"d_model": 512, "n_layers": 4}},
        {"model": {"context_length": 256, "attention": {"name": "mamba2"}, "position": "none"}},
        {"model": {"ffn": {"name": "moe", "n_experts": 8}}},
        {"model": {"head": {"name": "multi_token"}}, "loss": {"name": "multi_token"}},
    ],
    ids=str,
)
def test_the_bound_is_seldom_less_than_the_estimate(tiny, changes):
    """Who is below it by less than NEAR makes no estimate: it must not be what could not fit."""
    config = tiny(**changes)
    found = foresee(config)
    width, length, rows = config["model"]["d_model"], config["model"]["context_length"], config["task"]["batch_size"]
    bound = within_memory.bound(found.model, rows * length, length, width, 1)
    assert bound * within_memory.BEYOND > within_memory.NEAR * peak(config)


def test_masks_of_documents_count(tiny):
    """Of 32 rows of 512 a mask of bools and one of numbers: 5 bytes a cell."""
    config = tiny(model={"context_length": 512}, task={"batch_size": 32})
    together, apart = (
        Subject(config, 261, apart=way).passes(layout_of(config["trainer"], 1), 32).layers[0].forward for way in (False, True)
    )
    assert apart - together >= 5 * 32 * 512 * 512


def test_examples_count_as_long_as_they_are(tiny, tmp_path, monkeypatch):
    """Rows of answers are seldom as long as the longest that the model reads."""
    said = [[{"role": "user", "content": f"say {i}"}, {"role": "assistant", "content": str(i)}] for i in range(40)]
    file = tmp_path / "said.jsonl"
    file.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in said))
    data = {"name": "conversations", "path": str(file)}
    config = tiny(data=data, task={"name": "instruction_tuning"}, model={"context_length": 4096}, trainer={"max_steps": 1})
    monkeypatch.setattr(memory, "free", lambda: peak(config) // 10)
    assert fit(Job(config, "tiny", quiet=True)).folder


def test_free_is_what_linux_and_its_groups_leave(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "SYSTEM", tmp_path)
    whole = memory.available()
    assert memory.free() == whole, "nothing is told"
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   2000 kB\nSwapFree:  500 kB\n")
    assert memory.free() == 2500 * 1024
    job = tmp_path / "sys" / "fs" / "cgroup" / "slurm" / "job_7"
    job.mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/slurm/job_7/step\n")
    (job / "memory.max").write_text("max\n")
    assert memory.free() == 2500 * 1024
    (job.parent / "memory.max").write_text("1000000\n")
    (job.parent / "memory.stat").write_text("anon 300000\nfile 500000\n")  # pages of files can be given back
    assert (memory.available(), memory.free()) == (1_000_000, 700_000)
    old = tmp_path / "sys" / "fs" / "cgroup" / "memory" / "docker"
    old.mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text("5:cpu:/docker\n4:memory:/docker\n")
    (old / "memory.limit_in_bytes").write_text("600000\n")
    (old / "memory.stat").write_text("cache 5\ntotal_rss 100000\n")
    assert (memory.available(), memory.free()) == (600_000, 500_000)
