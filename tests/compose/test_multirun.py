"""Sweeps: Hydra expands them, every job is a process of its own, a failed one stops no other, and paths survive Hydra's grammar."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from components.cli.train import summary
from components.compose import hydra_sweep, jobs, multirun
from components.compose.request import Request
from components.core import threads
from components.core.errors import UserError

CHILD = """
import json, os, sys
folder, words = os.environ["COMPONENTS_JOB_FOLDER"], sys.argv[1:]
if "seed=2" in words:
    sys.exit(3)
json.dump({"val_loss": 0.5 + len(words), "words": words, "state": "finished"}, open(folder + "/summary.json", "w"))
"""


@pytest.fixture(autouse=True)
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for ``components train``: notes its words, fails for seed=2."""
    (tmp_path / "child.py").write_text(CHILD)
    monkeypatch.setattr(jobs, "COMMAND", (sys.executable, str(tmp_path / "child.py")))


def sweep(folder: Path, *overrides: str, **more: Any) -> list[jobs.JobResult]:
    return multirun.multirun("gpt_python", list(overrides), cwd=folder, **more)


def words(results: list[jobs.JobResult]) -> list[list[str]]:
    return [r.overrides[1:] for r in results]


def test_every_combination_is_a_job_of_its_own(tmp_path) -> None:
    results = sweep(tmp_path, "model/norm=rms,layer", "seed=1,2", "trainer.max_steps=20")
    assert words(results) == [
        [f"model/norm={n}", f"seed={s}", "trainer.max_steps=20"] for n in ("rms", "layer") for s in (1, 2)
    ]
    assert [r.exit_code for r in results] == [0, 3, 0, 3], "a job that fails stops no other"
    assert [r.number for r in results] == [0, 1, 2, 3]
    assert results[0].figures["words"] == ["recipe=gpt_python", "model/norm=rms", "seed=1", "trainer.max_steps=20"]
    assert results[0].objective == 4.5
    assert math.isnan(results[1].objective)
    assert len({r.folder for r in results}) == 4
    assert all(r.folder.parent.parent == tmp_path / "runs" / "multirun" for r in results)


def test_a_sweep_over_an_option_of_a_slice(tmp_path) -> None:
    every2 = "model.layers.every2.attention"
    results = sweep(tmp_path, f"{every2}=sliding_window", f"{every2}.mask.window=8,16")
    assert words(results) == [[f"{every2}=sliding_window", f"{every2}.mask.window={w}"] for w in (8, 16)]
    assert [r.exit_code for r in results] == [0, 0]


def test_nodes_ranges_and_recipes_sweep(tmp_path) -> None:
    results = sweep(tmp_path, "model.norm={name: rms, eps: 1e-5},layer", "seed=range(3,5)")
    assert [w[1] for w in words(results)] == ["seed=3", "seed=4", "seed=3", "seed=4"]
    results = multirun.multirun(None, ["recipe=gpt_python,llama_tiny"], cwd=tmp_path)
    assert [r.overrides for r in results] == [["recipe=gpt_python"], ["recipe=llama_tiny"]]


def test_what_does_not_compose_is_refused_before_any_job_starts(tmp_path) -> None:
    for wrong, says in [
        ("model.norm=rms,lyaer", "model.norm: unknown norm 'lyaer'; did you mean 'layer'"),
        ("trainer.max_step=1,2", "trainer.max_step: the trainer has no argument 'max_step'"),
        ("model.layers.from9.norm=rms,layer", "means none of the"),
        (
            "hydra/launcher=nope",
            "Could not find 'hydra/launcher/nope' Available options in 'hydra/launcher': basic components joblib",
        ),
        ("seed=1,", "--multirun: mismatched input"),
    ]:
        with pytest.raises(UserError) as e:
            sweep(tmp_path, wrong)
        assert says in str(e.value)
        assert "\n" not in str(e.value)
    assert not list(tmp_path.glob("runs/multirun/*/*/job.json"))


def test_paths_are_literal_in_sweeps_too(tmp_path) -> None:
    for name in ("book (1).txt", "x,y.txt", "a.txt", "b.txt"):
        (tmp_path / name).write_text("x")
    (result,) = sweep(tmp_path, "data=text", "data.path=book (1).txt")
    assert result.overrides[-1] == f"data.path='{tmp_path / 'book (1).txt'}'"
    (result,) = sweep(tmp_path, "data=text", "data.path=x,y.txt")
    assert result.overrides[-1] == f"data.path='{tmp_path / 'x,y.txt'}'"
    assert len(sweep(tmp_path, "data=text", "data.path=a.txt,b.txt")) == 2, (
        "files that exist, with commas between them, are a sweep"
    )
    (result,) = sweep(tmp_path, "data=text", "data.path=~/x.txt")
    assert (
        result.overrides[-1] == f"data.path={Path.home() / 'x.txt'}"
        or result.overrides[-1] == f"data.path='{Path.home() / 'x.txt'}'"
    )


def quoted(word: str, cwd: Path, others: Sequence[str] = ()) -> str:
    *before, argument = Request.of([*others, word]).arguments
    return multirun.quoted(argument, cwd, before)


def test_a_name_on_the_hub_is_no_path() -> None:
    assert quoted("data.path=a/b,c/d", Path("/x"), ["data=hf"]) == "data.path=a/b,c/d"
    assert quoted("data.path=b,c.txt", Path("/x"), ["data=text"]) == "data.path='/x/b,c.txt'"
    assert quoted("init_from=gpt_python/2026-01-01_10-00-00", Path("/x")) == "init_from=gpt_python/2026-01-01_10-00-00"
    assert quoted("init_from=my runs/1", Path("/x")) == "init_from='my runs/1'"
    assert quoted("recipe=a,./b.yaml", Path("/x")) == "recipe=a,./b.yaml"
    assert quoted("data.path=it's.txt", Path("/x"), ["data=text"]) == "data.path='/x/it\\'s.txt'"
    assert quoted("seed=1,2", Path("/x")) == "seed=1,2"


def test_the_sweep_goes_where_it_is_told(tmp_path) -> None:
    results = sweep(tmp_path, "seed=1,3", "hydra.sweep.dir=there", "hydra.launcher.n_jobs=2")
    assert {r.folder for r in results} == {tmp_path / "there" / "0", tmp_path / "there" / "1"}
    assert (tmp_path / "there/0/output.txt").exists()


CLUMSY = """
import json, os, sys
if "seed=2" in sys.argv:
    sys.exit(3)
json.dump({"val_loss": 1.0, "state": "finished"}, open(os.environ["COMPONENTS_JOB_FOLDER"] + "/summary.json", "w"))
"""


def test_a_folder_deeper_than_the_sweeps_is_collected_too(tmp_path) -> None:
    results = sweep(tmp_path, "seed=2", "trainer.max_steps=1,2", "hydra.sweep.subdir=a/b/${hydra.job.num}")
    assert [(r.exit_code, r.number) for r in results] == [(3, 0), (3, 1)]
    assert results[1].folder.parts[-3:] == ("a", "b", "1")


def test_a_reused_sweep_folder_holds_nothing_of_the_earlier_sweep(tmp_path) -> None:
    (tmp_path / "child.py").write_text(CLUMSY)
    first = sweep(tmp_path, "seed=4,5,6", "hydra.sweep.dir=there")
    assert [r.figures["val_loss"] for r in first] == [1.0] * 3
    for file in tmp_path.glob("there/*/*.json"):
        os.utime(file, (1, 1))
    (again,) = sweep(tmp_path, "seed=2", "hydra.sweep.dir=there")
    assert (again.exit_code, again.figures) == (3, {}), "nor the summary of the run that was there before"


def test_two_jobs_never_share_a_folder(tmp_path) -> None:
    with pytest.raises(UserError, match=r"hydra\.sweep\.subdir: gives two jobs the same folder"):
        sweep(tmp_path, "seed=1,2", "hydra.sweep.subdir=same")


class Returned:
    def __init__(self, folder: Path) -> None:
        self.working_dir, self.hydra_cfg, self.overrides = str(folder), None, ["seed=1", "hydra.x=1"]


def test_a_job_that_left_nothing_has_failed(tmp_path) -> None:
    began = os.path.getmtime(tmp_path)
    jobs.run_job(0, ["seed=1"], tmp_path / "0", quiet=True)
    results = jobs.results_of([[Returned(tmp_path / "0"), Returned(tmp_path / "1")]], tmp_path, began)
    assert [(r.exit_code, r.overrides) for r in results] == [(0, ["seed=1"]), (1, ["seed=1"])]
    twice = jobs.results_of([[Returned(tmp_path / "0"), Returned(tmp_path / "0")]], tmp_path, began)
    assert [r.exit_code for r in twice] == [0, 1]
    assert [r.number for r in jobs.results_of(None, tmp_path, began)] == [0], "a sweeper that hands nothing back"
    with pytest.raises(UserError, match="no job has left a result"):
        jobs.results_of(None, tmp_path, began + 1000)


def test_paths_of_the_run_are_literal_in_sweeps(tmp_path) -> None:
    assert quoted("paths.runs=a (1)", Path("/x")) == "paths.runs='a (1)'"
    assert quoted("paths.runs=~/runs", Path("/x")) == "paths.runs='~/runs'"
    assert quoted("paths={runs: x}", Path("/x")) == "paths={runs: x}"
    (result,) = sweep(tmp_path, "seed=1", "paths.runs=a (1)")
    assert result.folder.is_relative_to(tmp_path / "a (1)" / "multirun")


def test_code_is_refused_in_hydras_own_settings(tmp_path) -> None:
    with pytest.raises(UserError, match="names code"):
        sweep(tmp_path, "seed=1", "hydra.launcher._target_=os.system")


def joblib_job(config: Any) -> float:
    """Runs in joblib's worker: what is merged in for a job, and what Hydra keeps."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    node = config.model.layers["0"]["attention"] if "0" in config.model.layers else config.model.layers["every2"]["attention"]
    held = {
        "number": hydra.job.num,
        "overrides": list(hydra.overrides.task),
        "folder": str(folder),
        "exit_code": 0,
        "seconds": 0.0,
    }
    held["figures"] = {"window": node.mask.window, "pid": os.getpid()}
    (folder / "job.json").write_text(json.dumps(held))
    return float(node.mask.window)


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_hydras_own_launchers_work_as_they_are(tmp_path, launcher) -> None:
    every2 = "model.layers.every2.attention"
    more = ["hydra.launcher.n_jobs=1"] if launcher == "joblib" else []
    results = sweep(
        tmp_path, f"{every2}=sliding_window", f"{every2}.mask.window=8,16", f"hydra/launcher={launcher}", *more, job=joblib_job
    )
    assert [r.figures["window"] for r in results] == [8, 16]
    assert words(results)[1] == [f"{every2}=sliding_window", f"{every2}.mask.window=16"]


def test_what_differs_between_jobs(tmp_path) -> None:
    results = sweep(tmp_path, "model/norm=rms,layer", "trainer.max_steps=20")
    assert jobs.differing(results) == [["model/norm=rms"], ["model/norm=layer"]]
    assert jobs.differing(results[:1]) == [["recipe=gpt_python", "model/norm=rms", "trainer.max_steps=20"]]


@pytest.mark.parametrize("at_a_time", [1, 2])
def test_a_failed_job_says_why(tmp_path, capfd, at_a_time) -> None:
    """In the table's own lines, whether its output was printed or went into a file; and what no job can say itself."""
    (tmp_path / "child.py").write_text("""
import os, signal, sys
print("error: of no account")
print("error: task: is wrong; mend it" if "seed=2" in sys.argv else "note", file=sys.stderr, flush=True)
os.kill(os.getpid(), signal.SIGKILL) if "seed=3" in sys.argv else None
sys.exit(2 if "seed=2" in sys.argv else 0)
""")
    results = sweep(tmp_path, "seed=1,2,3", f"hydra.launcher.n_jobs={at_a_time}")
    assert [r.exit_code for r in results] == [0, 2, -9]
    assert [r.error for r in results] == [None, "task: is wrong; mend it", "signal 9 ended it; its memory may have run out"]
    printed = capfd.readouterr()
    lines = "\n".join(summary(results))
    assert "job 1 failed: task: is wrong; mend it" in lines
    if at_a_time == 1:
        assert "error: task: is wrong; mend it\n" in printed.err, "when it happens too"
    else:
        assert "job 1 failed with exit code 2: task: is wrong; mend it; the others go on" in printed.out
    assert json.loads((results[1].folder / "job.json").read_text())["error"] == "task: is wrong; mend it"


def test_a_job_that_was_killed_says_by_what() -> None:
    assert jobs.ended_by(-9) == "signal 9 ended it; its memory may have run out"
    assert jobs.ended_by(-15) == "signal 15 ended it"
    assert "3" in jobs.ended_by(3)


@pytest.mark.parametrize(
    ("own", "each", "says"),
    [
        (["hydra/launcher=joblib"], "1", "8 jobs at a time, 1 thread each"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=-4"], "1", "5 jobs at a time, 1 thread each"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=1"], None, ""),
        (["hydra.launcher.n_jobs=2"], "4", "2 jobs at a time, 4 threads each"),
        (["hydra.launcher.n_jobs=16"], "1", "16 jobs at a time, 1 thread each"),
        (["hydra/launcher=basic"], None, ""),
        ([], None, ""),
    ],
    ids=str,
)
def test_jobs_at_a_time_share_the_cores(tmp_path, monkeypatch, capsys, own, each, says) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 8)
    for name in threads.COUNTS:
        monkeypatch.delenv(name, raising=False)
    seen = []

    def note(*_: Any) -> None:
        seen.append(os.environ.get("OMP_NUM_THREADS"))
        raise UserError("sweep", "enough was seen")

    monkeypatch.setattr(hydra_sweep, "sweep", note)
    with pytest.raises(UserError, match="enough"):
        sweep(tmp_path, "seed=1,2", *own)
    assert seen == [each]
    assert "OMP_NUM_THREADS" not in os.environ
    said = capsys.readouterr().out
    assert (says in said) if says else not said
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with pytest.raises(UserError, match="enough"):
        sweep(tmp_path, "seed=1,2", *own)
    assert seen[1] == "3", "the environment says otherwise"
