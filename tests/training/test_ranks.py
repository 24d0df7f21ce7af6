"""Two ranks of one machine, as a user's script starts them: they do one run, the same on both, and none is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import components
from components.cli import main
from components.core import collectives
from components.core.errors import UserError
from components.runs import checkpoints, resume, run_files, run_folder
from components.runs.metrics_file import read_rows
from components.training import ranks
from components.training.alike import Alike
from components.training.planning import Job

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from threaded import on_ranks
from tiny_recipe import write

pytestmark = pytest.mark.usefixtures("warm_processes")

RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", run_folder.FOLDER, ranks.FIRST, ranks.RUN)
AMOUNTS = [
    *("recipe=ladder/01_leaf_flower", "data=judges", "data.count=32", "model.d_model=3", "task=regression", "loss=regression"),
    *(
        "model/head=regression",
        "task.batch_size=32",
        "task.validation_every=3",
        "trainer.max_steps=6",
        "trainer.accelerator=cpu",
    ),
    "trainer.precision=32-true",
]
TWO = ["trainer.strategy=ddp", "trainer.devices=2"]
SCRIPT = f"""
import components

with open("begun", "a") as f:
    f.write("x")
components.train("./tiny.yaml", ["trainer.max_steps=2", "task.samples=0", *{TWO}], quiet=True)
made = components.train(None, [*{AMOUNTS}, *{TWO}], quiet=True)
print("done", made.folder, flush=True)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    return write(tmp_path, monkeypatch)


def start(*command: str) -> subprocess.Popen:
    env = {n: v for n, v in os.environ.items() if n not in RANKS} | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *command], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def ended(process: subprocess.Popen, timeout: float = 180) -> str:
    try:
        return process.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"did not end: {process.communicate()[0]}") from None


def test_two_runs_of_a_script_one_with_a_rank_that_has_nothing_to_measure(here):  # noqa: ARG001
    """Eight rows held out, 16 a rank: one rank measures all of them. 25 s: a process for the script, and a rank for each of its runs."""
    Path("script.py").write_text(SCRIPT)
    said = ended(start("script.py"))
    assert said.count("done") == 1, f"what follows a run is the script's own work, not each rank's: {said}"
    assert Path("begun").read_text() == "x" * 3, "the script, and for each of its runs a rank that begins it again"
    alone = components.train(None, AMOUNTS, quiet=True).folder
    one, two = (read_rows(folder / "metrics.csv") for folder in (alone, Path(said.split()[-1])))
    assert [r["step"] for r in two] == [r["step"] for r in one]
    for name in ("val_loss", "val_mean_absolute_error", "val_root_mean_squared_error"):
        assert [r[name] for r in two] == pytest.approx([r[name] for r in one], rel=1e-5), name
        assert any(r[name] for r in two)


def test_onto_shards_and_no_rank_outlives_the_first(here, cold_processes):  # noqa: ARG001
    """A run of one process goes on under fsdp2 where it would have come to; then the first rank is killed. 20 s: two processes."""
    plain = ["recipe=./tiny.yaml", "task.samples=0", "schedule=constant", "optimizer.eps=1e-4"]
    assert main(["train", *plain, "paths.runs=whole"]) == 0
    assert main(["train", *plain, "trainer.max_steps=5", "paths.runs=half"]) == 0
    (whole,), (half,) = Path("whole").glob("*/*"), Path("half").glob("*/*")
    process = start(
        *(
            "-m",
            "components",
            "train",
            f"resume={half}",
            "trainer.strategy=fsdp2",
            "trainer.devices=2",
            "trainer.max_steps=100000",
        )
    )
    until = time.time() + 120
    while not re.search(r"(?m)^15,", (half / "metrics.csv").read_text()):
        assert time.time() < until, ended(process, 0)
        assert process.poll() is None, ended(process)
        time.sleep(0.02)
    process.kill()
    said = ended(process, 60)  # the other rank holds the stream open until it has ended
    assert f"error: rank 1: the first rank (process {process.pid}): has gone; resume={half.absolute()} goes on" in said
    assert "Traceback" not in said
    rows = {r["step"]: r["val_loss"] for r in read_rows(half / "metrics.csv") if r["val_loss"]}
    expected = {r["step"]: r["val_loss"] for r in read_rows(whole / "metrics.csv") if r["val_loss"]}
    assert [rows[s] for s in expected] == pytest.approx(list(expected.values()), rel=1e-6)


def test_a_started_rank_takes_the_run_from_the_first_one(tmp_path, monkeypatch):
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    assert not ranks.launched()
    config = {n: {"name": "x"} for n in run_files.NODES} | {
        "trainer": {"max_steps": 3},
        "init_from": "/a/b.ckpt",
        "lr": 1e-05,
        "seed": 3,
    }
    for name in (run_folder.FOLDER, ranks.FIRST, ranks.RUN):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
        monkeypatch.delenv(name)
    ranks.tell(tmp_path, Job(config, "tiny", init_from="/a/b.ckpt"))
    assert not ranks.launched(), "the first rank itself"
    job = ranks.job()
    assert (job.config, job.recipe, job.init_from, job.resumed) == (config, "tiny", "/a/b.ckpt", None)
    before = resume.Resumed(tmp_path, tmp_path / "checkpoints" / "last.ckpt", {**config, "seed": 4})
    ranks.tell(tmp_path, Job(config, "tiny", resumed=before))
    job = ranks.job()  # the folder still has the config of before: nothing is written until the run may go on
    assert (job.config, job.resumed, job.init_from) == (config, before, None)
    monkeypatch.setenv(ranks.FIRST, "1")
    assert not ranks.launched(), "a command that a run has called is no rank of it"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert ranks.launched()


def test_the_first_process_of_another_node_is_not_the_first_rank(monkeypatch):
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    assert run_folder.rank() == 0
    monkeypatch.setenv("NODE_RANK", "1")
    assert run_folder.rank() > 0
    monkeypatch.setenv("RANK", "0")
    assert run_folder.rank() == 0, "who says the rank knows better"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": "other"}, "rank 1: its data is other, that of the first rank abc; let all ranks read the same files"),
        ({"run": "2025"}, "rank 1: its run to go on with is 2025, that of the first rank 2026;"),
        ({"step": 7}, "rank 1: its checkpoint is last.ckpt of step 7, that of the first rank last.ckpt of step 5;"),
        ({"lr": 0.2}, "rank 1: its config is "),
        ({"cache": "/other"}, None),
    ],
)
def test_what_ranks_found_by_themselves_is_held_against_the_first(change, said):
    def planned(data="abc", run="2026", step=5, lr=0.1, cache="/tmp"):
        resumed = resume.Resumed(Path(run), Path(run, "checkpoints", "last.ckpt"), {})
        job = SimpleNamespace(config={"optimizer": {"lr": lr}, "paths": {"cache": cache}}, resumed=resumed)
        return SimpleNamespace(job=job, step=step, corpus=SimpleNamespace(hash=data), module=SimpleNamespace(total_steps=9))

    for found in on_ranks(2, lambda rank: Alike(planned(**(change if rank else {}))).setup(None, None, "fit")):
        assert found is None if said is None else isinstance(found, collectives.Differing)
        assert said is None or str(found).startswith(said)


def test_the_time_out_of_before_is_refused_by_its_new_name(monkeypatch):
    monkeypatch.setenv(ranks.TIMEOUT, "30")
    with pytest.raises(UserError, match=r"COMPONENTS_RANK_TIMEOUT: is read no more; trainer\.timeout=30"):
        ranks.prepare(SimpleNamespace(world_size=2, strategy=None), None, 600.0)


STUCK = f"""
import os, signal, sys, time
from lightning.pytorch import Callback
import components
from components.cli import command

@components.register("callback", "stuck")
class Stuck(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        while trainer.global_step == 7 and trainer.global_rank == int(os.environ["STUCK"]):
            if os.environ["HOW"] == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(0.1)  # alive, and no answer

sys.argv = [sys.argv[0], "train", "recipe=./tiny.yaml", "callbacks.stuck=true", "trainer.max_steps=20", "task.samples=0"]
sys.argv += ["trainer.timeout=10", *{TWO}]
command()
"""
STUCK_AT = r"does not answer, last seen at step 7 in on_train_batch_start \(script.py:"
STOPPED = r"is stopped and does not answer; "
SAID = {
    ("loop", 0): r"error: (rank 1: rank 0 .*" + STUCK_AT + "|.*has ended)",
    ("loop", 1): r"error: rank 1 \(process .*" + STUCK_AT,
    ("stop", 0): r"error: rank 1: the first rank \(process \d+\): " + STOPPED,
    ("stop", 1): r"error: rank 1 \(process \d+\): " + STOPPED,
}
NOT_SLOW = [("loop", 1), ("stop", 0)]


@pytest.mark.parametrize(
    ("how", "stuck"), [case if case in NOT_SLOW else pytest.param(*case, marks=pytest.mark.slow) for case in SAID]
)
def test_a_rank_that_hangs_ends_the_run_within_its_time(how, stuck, here, monkeypatch):  # noqa: ARG001
    """Each takes 25 s: two processes that start, and ten seconds of waiting."""
    monkeypatch.setenv("STUCK", str(stuck))
    monkeypatch.setenv("HOW", how)
    Path("script.py").write_text(STUCK)
    process = start("script.py")
    said = ended(process)
    (folder,) = Path("runs").glob("*/*")
    assert process.returncode == (-signal.SIGKILL if (how, stuck) == ("stop", 0) else 1), said
    assert re.search(SAID[how, stuck], said), said
    assert "Traceback" not in said
    assert checkpoints.read(folder / "checkpoints" / "last.ckpt")["global_step"] == 5, "what was saved before is whole"


@pytest.mark.slow
def test_torchrun_ends_with_a_rank_that_hangs(here, monkeypatch):  # noqa: ARG001
    """A minute: torchrun gives the stopped rank thirty seconds to end."""
    monkeypatch.setenv("STUCK", "1")
    monkeypatch.setenv("HOW", "stop")
    Path("script.py").write_text(STUCK)
    process = start("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "script.py")
    said = ended(process)
    assert process.returncode == 1
    assert re.search(r"error: rank 1 \(process \d+ on \S+\): does not answer, last seen at step \d+ in ", said), said
    (folder,) = Path("runs").glob("*/*")
    assert checkpoints.read(folder / "checkpoints" / "last.ckpt")["global_step"] == 5
