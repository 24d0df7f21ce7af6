"""train, resume, evaluate, generate and runs as a user types them, on a model of a few thousand weights."""

# ruff: noqa: ARG001  fixtures
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import tiny_recipe
import torch

import components
from components.cli import generate, main
from components.core.errors import UserError
from components.runs.checkpoints import read, weights_in
from components.runs.metrics_file import read_rows
from components.training.preemption import Preemption
from components.training.signals import REQUEUE

pytestmark = pytest.mark.usefixtures("warm_processes")


@pytest.fixture
def here(tmp_path, monkeypatch):
    return tiny_recipe.write(tmp_path, monkeypatch)


def train(*words: str) -> Path:
    assert main(["train", "recipe=./tiny.yaml", *words]) == 0
    return newest()


def newest() -> Path:
    return max(Path("runs").glob("tiny/*"), key=lambda f: f.stat().st_ctime_ns)


def launch(*words: str, ranks: int = 0, **more: str) -> subprocess.Popen:
    """In a process group of its own, that a test may end as a whole."""
    dropped = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "COMPONENTS_RUN_FOLDER")
    env = {k: v for k, v in os.environ.items() if k not in dropped} | {"OMP_NUM_THREADS": "1"} | more
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"] if ranks else ["-m"]
    command = [sys.executable, *torchrun, "components", *words]
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def ended(process: subprocess.Popen, timeout: float = 120) -> str:
    try:
        return process.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"did not end: {process.communicate()[0]}") from None


def test_from_training_to_comparing(here, capsys):
    first = train()
    said = capsys.readouterr().out
    assert "bits per byte" in said
    assert str(first / "curves.png") in said
    time.sleep(1.1)  # folders are named by the second
    second = train("model/norm=layer", "seed=1")
    said = capsys.readouterr().out
    assert "norm" in said.split("run:")[0]  # the difference comes first
    assert "model" in (second / "config.yaml").read_text().split("recipe:")[0]

    assert main(["evaluate", str(first), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["loss"] == pytest.approx(json.loads((first / "summary.json").read_text())["best_val_loss"], rel=1e-5)
    assert main(["evaluate", str(first / "checkpoints" / "last.ckpt"), "--split", "test"]) == 0
    assert "bits per byte" in capsys.readouterr().out

    assert main(["evaluate", str(first), "--split", "all", "--json"]) == 0
    everything = json.loads(capsys.readouterr().out)
    assert everything["documents"] == everything["documents_in_all"] > figures["documents"]
    Path("other.txt").write_text("\n\n".join(f"other words number {i}" for i in range(30)))
    assert main(["evaluate", str(first), "data.path=other.txt", "data.split_on=blank_lines", "--split", "all"]) == 0
    out, err = capsys.readouterr()
    assert "all: 30 of the data's 30 documents" in out
    assert err == ""  # preparing other data may take long and is seen then, beside the figures; this was short

    hot = "decoding.samplers=[{name: temperature, value: 0.5}, {name: top_p, p: 0.9}]"
    assert hot in " ".join(generate.HELP.split())
    assert main(["generate", str(first), hot, "--max-new-tokens", "3"]) == 0
    capsys.readouterr()
    texts = []
    for _ in range(2):
        assert main(["generate", first.name, "--prompt", "the tree", "--max-new-tokens", "12", "decoding=greedy"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert texts[0].startswith("the tree")
    assert main(["generate", str(first), "--samples", "2", "--max-new-tokens", "3"]) == 0
    assert "=== sample 2 ===" in capsys.readouterr().out

    assert main(["runs"]) == 0
    listed = capsys.readouterr().out
    assert first.name in listed
    assert second.name in listed
    assert main(["runs", first.name, second.name]) == 0
    compared = capsys.readouterr().out
    assert "seed" in compared
    assert "val_loss" in compared
    assert str(first.relative_to("runs")) in compared
    picture = Path(compared.rsplit("curves: ", 1)[1].strip())
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_resume_as_typed(here, capsys):
    whole = train("schedule=constant")
    time.sleep(1.1)
    short = train("schedule=constant", "trainer.max_steps=5")
    assert main(["train", "resume=auto", "trainer.max_steps=10"]) == 0
    assert "trainer.max_steps: 5 -> 10" in capsys.readouterr().out
    a, b = (weights_in(read(f / "checkpoints" / "last.ckpt")) for f in (whole, short))
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert "max_steps: 10" in (short / "config.yaml").read_text()
    assert json.loads((short / "run.json").read_text())["resumed"][0]["step"] == 5
    assert (short / "samples.txt").read_text().count("=== step") == 2


def test_two_processes_have_the_losses_of_one(here):
    one = train()
    time.sleep(1.1)
    processes = [
        launch("train", "recipe=./tiny.yaml", "trainer.strategy=ddp", "trainer.devices=2", f"paths.runs=ddp{i}") for i in (1,)
    ]
    processes.append(
        launch(
            "train",
            "recipe=./tiny.yaml",
            "trainer.strategy=fsdp2",
            "trainer.devices=2",
            "trainer.accumulate_grad_batches=2",
            "paths.runs=fsdp",
            ranks=2,
        )
    )
    said = [ended(p) for p in processes]
    expected = read_rows(one / "metrics.csv")
    for folder, output in zip(("ddp1", "fsdp"), said):
        (run,) = Path(folder).glob("tiny/*")  # one folder, whoever started the ranks
        got = read_rows(run / "metrics.csv")
        for column in ("train_loss", "val_loss"):
            assert [r[column] for r in got] == pytest.approx([r[column] for r in expected], rel=1e-5), output
        a, b = (weights_in(read(f / "checkpoints" / "last.ckpt")) for f in (one, run))
        for name, value in a.items():
            torch.testing.assert_close(b[name], value, rtol=0, atol=1e-4)


# a process of torch and two readers, twice: 20 s on a busy machine
@pytest.mark.parametrize(("number", "code", "state"), [(signal.SIGTERM, 75, "preempted"), (signal.SIGINT, 130, "interrupted")])
def test_a_signal_to_all_processes_saves_and_a_second_one_changes_nothing(here, number, code, state):
    """As schedulers and terminals send it: the readers of the data get it too."""
    words = ("task.num_workers=2", "task.validation_every=100000", "trainer.max_steps=100000", "task.samples=0")
    process = launch("train", "recipe=./tiny.yaml", *words)
    deadline = time.time() + 100
    while not any(len(f.read_text().splitlines()) > 3 for f in Path("runs").glob("tiny/*/metrics.csv")):
        assert time.time() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    os.killpg(process.pid, number)
    checkpoint = newest() / "checkpoints" / "last.ckpt"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)  # while the run is ending
    said = ended(process, 60)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert json.loads((newest() / "summary.json").read_text())["state"] == state
    step = read(checkpoint)["global_step"]
    assert main(["train", "resume=auto", f"trainer.max_steps={step + 2}", "task.num_workers=0"]) == 0


def test_a_job_of_slurm_that_is_queued_again_goes_on(here, monkeypatch, capsys):
    """SIGUSR1 saves and asks for the queue; the same command then goes on, and once it is done it is left out."""
    (here / "bin").mkdir()
    (here / "bin" / "scontrol").write_text('#!/bin/sh\necho "$@" >> asked\n')
    (here / "bin" / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{here / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    command = ["train", "recipe=./tiny.yaml", "seed=5"]
    monkeypatch.setattr(sys, "argv", ["components", *command])
    agreed = Preemption._agreed
    monkeypatch.setattr(Preemption, "_agreed", lambda self, t: REQUEUE if t.global_step == 7 else agreed(self, t))
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 75
    assert (here / "asked").read_text() == "requeue 42\n"
    monkeypatch.setattr(Preemption, "_agreed", agreed)

    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert main(command) == 0
    (run,) = Path("runs").glob("tiny/*")
    assert [r["step"] for r in read_rows(run / "metrics.csv")] == [5, 10]
    assert main(command) == 0  # the job is started once more
    assert "done before this job was queued again" in capsys.readouterr().out
    assert [*Path("runs").glob("tiny/*")] == [run]

    monkeypatch.setattr(sys, "argv", ["components", *command[:2]])  # another command of the script
    assert main(command[:2]) == 0
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    monkeypatch.setattr(sys, "argv", ["components", *command])  # typed again while the job runs: another run
    assert main(command) == 0
    assert len([*Path("runs").glob("tiny/*")]) == 3


def test_all_ranks_stop_together_on_sigterm(here):
    process = launch(
        "train", "recipe=./tiny.yaml", "trainer.strategy=ddp", "trainer.devices=2", "trainer.max_steps=100000", "task.samples=0"
    )
    deadline = time.time() + 100
    while not list(Path("runs").glob("tiny/*/checkpoints/last.ckpt")):
        assert time.time() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    said = ended(process, 60)
    assert process.returncode == 75, said
    assert json.loads((newest() / "summary.json").read_text())["state"] == "preempted"
    step = read(newest() / "checkpoints" / "last.ckpt")["global_step"]
    assert main(["train", "resume=auto", f"trainer.max_steps={step + 2}", "trainer.strategy=auto", "trainer.devices=1"]) == 0


def test_from_python(here):
    made = components.load_recipe("./tiny.yaml", ["seed=5"])
    batch = made.data.train.batch(0, [0, 1])
    assert made.model(batch.ids).shape == (2, 16, made.task.tokenizer.vocab_size)
    again = components.load_recipe("./tiny.yaml", ["seed=5", "model/norm=layer"])
    shared = dict(made.model.named_parameters())
    assert all(torch.equal(p, shared[n]) for n, p in again.model.named_parameters() if n in shared and p.dim() > 1)
    result = components.train("./tiny.yaml", ["trainer.max_steps=2"], quiet=True)
    assert result.figures["step"] == 2
    with pytest.raises(UserError, match="leave overrides of the model out"):
        components.load(result.folder, ["model.d_model=32"])
    epoch = components.train(
        "./tiny.yaml", ["trainer.max_steps=null", "trainer.max_epochs=1", "trainer.limit_train_batches=3"], quiet=True
    )
    assert epoch.figures["step"] == 3
    assert components.train("./tiny.yaml", ["trainer.fast_dev_run=true"], quiet=True).figures["step"] == 1
    assert components.load(result.folder, ["decoding=greedy"]).generate("the", max_new_tokens=3).startswith("the")


def test_a_sweep_ends_with_one_table(here, capsys):
    words = ["train", "--multirun", "recipe=./tiny.yaml", "trainer.max_steps=2,0.5", "task.samples=0"]
    assert main(words) == 1  # half a step is refused, and the other job is not stopped by it
    table = capsys.readouterr().out
    assert table.count("trainer.max_steps=") == 2
    assert "finished" in table
    assert "failed" in table
    assert "(2)" in table
