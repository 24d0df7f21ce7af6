"""The template of docs/how_to/cluster.md, with stand-ins for ``srun`` and ``scontrol`` that set SLURM's variables: no SLURM was there."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_recipe import write

from components.runs import run_folder
from components.runs.metrics_file import read_rows
from components.training import ranks

pytestmark = pytest.mark.usefixtures("warm_processes")

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "cluster.md"
RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", run_folder.FOLDER, ranks.FIRST, ranks.RUN)
SRUN = """#!/bin/bash
for i in $(seq 0 $((SLURM_NTASKS - 1))); do
  SLURM_PROCID=$i SLURM_LOCALID=$i SLURM_NODEID=0 "$@" &
  pids="$pids $!"
done
echo $pids > pids.part && mv pids.part pids
code=0
for p in $pids; do wait $p || code=$?; done
exit $code
"""


def blocks() -> list[str]:
    return re.findall(r"^```(?:bash|sh)[^\n]*\n(.*?)^```", PAGE.read_text(encoding="utf8"), re.M | re.S)


@pytest.mark.parametrize("block", blocks())
def test_every_block_is_a_script(block):
    done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder with the template as train.sh, and the environment of a job of one node and two tasks."""
    write(tmp_path, monkeypatch)
    (template,) = [b for b in blocks() if "#SBATCH --nodes" in b]
    (tmp_path / "train.sh").write_text(template)
    programs = {
        "srun": SRUN,
        "scontrol": '#!/bin/sh\necho "$@" >> asked\n',
        "components": f'#!/bin/sh\nexec {sys.executable} -m components "$@"\n',
    }
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    env = {n: v for n, v in os.environ.items() if n not in RANKS}
    return {
        **{**env, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "SLURM_JOB_ID": "4242"},
        **{"SLURM_JOB_NAME": "train", "SLURM_NNODES": "1", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"},
        **{"SLURM_NODELIST": "localhost", "SLURM_JOB_NODELIST": "localhost"},
    }


def start(env: dict[str, str]) -> subprocess.Popen[str]:
    words = ["recipe=./tiny.yaml", "trainer.strategy=ddp", "task.samples=0", "trainer.max_steps=1000"]
    words += ["task.validation_every=500", "trainer.log_every_n_steps=20"]
    return subprocess.Popen(
        ["bash", "train.sh", *words],
        **{"env": env, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True},
    )


def ended(process: subprocess.Popen[str]) -> str:
    try:
        return process.communicate(timeout=240)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(process.communicate()[0]) from None


@pytest.mark.timeout(600)
def test_the_template_is_stopped_queued_again_and_goes_on_in_the_same_folder(cluster):
    """50 s: two launches of two processes."""
    process = start(cluster)
    until = time.time() + 200
    while not any(len(f.read_text().splitlines()) > 3 for f in Path("runs").glob("tiny/*/metrics.csv")):
        assert time.time() < until, ended(process)
        assert process.poll() is None, ended(process)
        time.sleep(0.2)
    for rank in Path("pids").read_text().split():
        os.kill(int(rank), signal.SIGUSR1)
    said = ended(process)
    assert process.returncode == 75, said
    assert Path("asked").read_text() == "requeue 4242\n"
    (folder,) = Path("runs").glob("tiny/*")
    assert json.loads((folder / "summary.json").read_text())["state"] == "preempted"
    process = start({**cluster, "SLURM_RESTART_COUNT": "1"})
    said = ended(process)
    assert process.returncode == 0, said
    assert [*Path("runs").glob("tiny/*")] == [folder], "one folder for all starts of the job"
    assert json.loads((folder / "summary.json").read_text())["state"] == "finished"
    assert [row["step"] for row in read_rows(folder / "metrics.csv")] == [*range(20, 1001, 20)]
