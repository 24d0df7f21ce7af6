"""What a study does with its runs: which are trained, which are found again, what is tuned, stopped, named as failed. The runs are stand-ins."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from pathlib import Path

import pytest

import components
from components.cli import main
from components.compose import jobs
from components.compose.multirun import launching
from components.core import threads
from components.core.errors import UserError
from components.studies import evaluated, executing
from components.studies.study import read_speeds, read_study
from components.training.signals import Preempted

pytestmark = pytest.mark.usefixtures("warm_processes")

RECIPE = """defaults:
  - override /tokenizer: byte
  - override /optimizer: adamw
  - _self_
model: {d_model: 16, n_layers: 1, context_length: 16, attention: {n_heads: 2}}
optimizer: {lr: 0.01}
trainer: {max_steps: 40, precision: 32-true}
"""
# a run: what it finds depends on its words alone; it is best at a rate of 0.02 with layer norms, else at 0.01
CHILD = """
import json, os, random, subprocess, sys, time
folder, words = os.environ["COMPONENTS_JOB_FOLDER"], sys.argv[1:]
said = dict(w.split("=", 1) for w in words)
layer, seed, steps = said.get("model/norm") == "layer", int(said["seed"]), int(said.get("trainer.max_steps", 40))
rate = float(said.get("optimizer.lr", 0.01))
if said.get("model/norm") == "group" and seed == 1:
    print("error: model.norm: this one fails"), sys.exit(2)
if layer and os.environ.get("ORPHAN"):
    orphan = "import sys, time; from pathlib import Path; from components.training.lock import Lock; lock = Lock(Path(sys.argv[1])); "
    orphan += "time.sleep(2); Path(sys.argv[1], 'summary.json').write_text('{\\"state\\": \\"finished\\", \\"val_loss\\": 1.5}')"
    subprocess.Popen([sys.executable, "-c", orphan, folder])
    while not os.path.exists(folder + "/run.lock"):
        time.sleep(0.05)
    print("error: process 7 is training in it"), sys.exit(2)
noise = random.Random(f"{seed} {said.get('model/norm')}").random() / 100
loss = 3 - steps / 100 + abs(rate - (0.02 if layer else 0.01)) + (0.5 if said.get("model/norm") == "l2" else 0) + noise
rows = [(10, 0.1, 5.0), (steps, 0.1 + (steps - 10) * 0.01, loss)]
with open(folder + "/metrics.csv", "w") as f:
    f.write("step,seconds,val_loss\\n" + "".join("%d,%f,%f\\n" % r for r in rows))
json.dump({"state": "finished", "val_loss": loss, "seconds": 0.5, "step": steps}, open(folder + "/summary.json", "w"))
with open(os.environ["TRAINED"], "a") as f:
    f.write(" ".join(words) + "|" + os.environ.get("OMP_NUM_THREADS", "") + "\\n")
"""


@pytest.fixture(autouse=True)
def trained(tmp_path, monkeypatch):
    """The words of every run that was really started."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(RECIPE)
    Path("child.py").write_text(CHILD)
    monkeypatch.setattr(jobs, "COMMAND", (sys.executable, str(tmp_path / "child.py")))
    monkeypatch.setenv("TRAINED", str(tmp_path / "trained.txt"))
    log = tmp_path / "trained.txt"
    return lambda: log.read_text().splitlines() if log.exists() else []


def ablate(*overrides, **more):
    return components.ablate("./tiny.yaml", overrides, quiet=True, **more)


def test_what_is_there_is_not_trained_again_and_seeds_are_added(trained):
    first = ablate("model/norm=rms,layer", seeds=2)
    assert [(r.variant, r.seed) for r in first.study.runs] == [(v, s) for s in (0, 1) for v in ("recipe", "model/norm=layer")]
    assert [r.reason for r in first.study.refused] == ["is the recipe as it is"]
    assert len(trained()) == 4
    held = (first.folder / "study.json").read_bytes()
    assert ablate("model/norm=rms,layer", seeds=2).folder == first.folder
    assert (first.folder / "study.json").read_bytes() == held
    assert len(trained()) == 4
    again = components.ablate(study=first.folder.name, seeds=3, quiet=True)
    assert (again.study.seeds, len(trained())) == ((0, 1, 2), 6)
    assert len(ablate("model/norm=layer,l2", seeds=3).study.runs) == 9
    assert len(trained()) == 9, "a second study that shares runs trains only its own"
    read = read_study(first.folder)
    assert read == again.study
    assert [s.variant for s in read_speeds(first.folder)] == [r.variant for r in read.runs]
    assert str(Path.cwd()) not in (first.folder / "study.json").read_text()
    assert {p.name for p in first.folder.parent.glob("runs/*")} == {Path(r.folder).name for r in read.runs} | {
        Path(r.folder).name for r in ablate("model/norm=layer,l2", seeds=3).study.runs
    }


def test_a_failed_run_is_named_and_hurts_nothing_else(trained, capsys):
    assert main(["ablate", "recipe=./tiny.yaml", "model/norm=layer,group", "seeds=3"]) == 1
    assert "failed: model/norm=group, seed 1: model.norm: this one fails" in capsys.readouterr().out
    (folder,) = Path("runs/studies").glob("tiny_*")
    failed = [r for r in read_study(folder).runs if r.state == "failed"]
    assert [(r.variant, r.seed, r.error) for r in failed] == [("model/norm=group", 1, "model.norm: this one fails")]
    assert len(trained()) == 8


def test_each_variant_is_tuned_alike_and_takes_its_own_best(trained):
    found = ablate("model/norm=rms,layer", seeds=2, tune="optimizer.lr:3", jobs=2).study
    assert {v.name: v.tuned for v in found.variants} == {
        "recipe": {"optimizer.lr": 0.01},
        "model/norm=layer": {"optimizer.lr": 0.02},
    }
    tried = [r for r in found.runs if r.role == "tuning"]
    assert [(r.variant, r.options["optimizer.lr"]) for r in tried] == [
        (v, lr) for v in ("recipe", "model/norm=layer") for lr in (0.005, 0.01, 0.02)
    ]
    assert {r.seed for r in tried}.isdisjoint(found.seeds)
    assert found.tune == {"options": {"optimizer.lr": [0.5, 1.0, 2.0]}, "seed": 1_000_000, "steps": 20}
    assert sum("trainer.max_steps=20" in words for words in trained()) == 6
    assert all(words.endswith("|1") for words in trained()), "one thread each"


def test_one_that_is_behind_beyond_doubt_gets_no_more_seeds(trained):
    pytest.importorskip("scipy")
    found = ablate("model/norm=dynamic_tanh,l2", seeds=6, stop="doubtless").study
    assert {v.name: v.stopped_after for v in found.variants} == {
        "recipe": None,
        "model/norm=dynamic_tanh": None,
        "model/norm=l2": 3,
    }
    assert sum(r.variant == "model/norm=l2" for r in found.runs) == 3
    assert len(trained()) == 6 + 6 + 3


def test_an_evaluation_tunes_and_stops_in_its_own_direction(monkeypatch):
    """More is better of it: with the losses of the tests before, it has to choose and to stop as they do."""
    pytest.importorskip("scipy")

    def evaluate(run, overrides):
        assert overrides == ["evaluation=[cloze]", "evaluation.cloze.count=7"]
        loss = json.loads((run / "summary.json").read_text())["val_loss"]
        return {"loss": loss, "evaluations": {"cloze": {"accuracy": {"value": 1 - loss / 10}, "by_frequency": {"value": 0.3}}}}

    monkeypatch.setattr(evaluated, "evaluate", evaluate)
    words = ("model/norm=layer,l2", "evaluation.cloze.count=7")
    more = {"metric": "cloze.accuracy,cloze.by_frequency,val_loss", "tune": "optimizer.lr:3", "stop": "doubtless"}
    made = ablate(*words, seeds=6, **more)
    found = made.study
    assert {v.name: (v.tuned["optimizer.lr"], v.stopped_after) for v in found.variants} == {
        "recipe": (0.01, None),
        "model/norm=layer": (0.02, None),
        "model/norm=l2": (0.01, 3),
    }
    assert not found.lower_is_better
    worse = next(r for r in made.answer.rows if r.variant == "model/norm=l2")
    assert (worse.effect.verdict, made.answer.better(worse.effect)) == ("lower", False)
    assert [e.verdict for e in made.answer.secondary if e.metric == "cloze.by_frequency"] == ["the same"] * 2
    assert {p.stem for p in (made.folder / "evaluations").iterdir()} == {Path(r.folder).name for r in found.runs}


def test_a_variant_that_cannot_be_asked_fails_alone_and_a_loss_that_is_no_number_too(monkeypatch):
    def evaluate(run, _):
        said = json.loads((run / "job.json").read_text())["overrides"]
        if "model/norm=layer" in said:
            raise UserError("evaluation.cloze", f"cannot be asked of {run}")
        return {"evaluations": {"cloze": {"accuracy": {"value": math.nan if "seed=1" in said else 0.5}}}}

    monkeypatch.setattr(evaluated, "evaluate", evaluate)
    made = ablate("model/norm=layer,l2", seeds=2, metric="cloze.accuracy")
    failed = {(r.variant, r.seed): r.error for r in made.study.runs if r.state == "failed"}
    assert failed == dict.fromkeys([("model/norm=layer", s) for s in (0, 1)], "evaluation.cloze: cannot be asked of the run")
    assert made.answer.rows[0].failed == {1: "no finite cloze.accuracy"}
    assert made.answer.rows[0].seeds == (0,)
    assert read_study(made.folder) == made.study


def test_a_signal_between_evaluations_keeps_those_that_are_done(trained, monkeypatch):
    asked = []

    def evaluate(run, _):
        asked.append(run.name)
        if len(asked) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"evaluations": {"cloze": {"accuracy": {"value": 0.5}}}}

    monkeypatch.setattr(evaluated, "evaluate", evaluate)
    with pytest.raises(Preempted):
        ablate("model/norm=layer,l2", seeds=2, metric="cloze.accuracy")
    assert [r.state for r in ablate("model/norm=layer,l2", seeds=2, metric="cloze.accuracy").study.runs] == ["done"] * 6
    assert (len(trained()), len(asked), asked[1] == asked[2]) == (6, 7, True), "only the one that was stopped is asked again"


def test_time_is_measured_first_and_steps_follow(trained):
    found = ablate("model/norm=rms,layer", seeds=1, match="time").study
    assert found.match == {"budget": "time", "free": "trainer.max_steps", "tolerance": 0.005}
    assert [v.steps for v in found.variants] == [40, 40], "both take 10 ms a step here"
    assert [("trainer.limit_val_batches=0" in words, "trainer.max_steps=20" in words) for words in trained()] == [
        *[(True, True)] * 2,
        *[(False, False)] * 2,
    ]


def test_dry_prints_hours_and_trains_only_twenty_steps(trained, capsys):
    assert main(["ablate", "recipe=./tiny.yaml", "model/norm=rms,layer", "seeds=4", "match=flops", "dry"]) == 0
    said = capsys.readouterr().out
    assert len(trained()) == 2
    assert "10 ms" in said
    assert "hours one after another" in said
    assert "nothing: agrees already" in said
    assert "not trained: model/norm=rms: is the recipe as it is" in said
    assert not list(Path("runs/studies").glob("*/study.json"))


def test_json_of_a_dry_study_has_its_hours(capsys):
    assert main(["ablate", "recipe=./tiny.yaml", "model/norm=rms,layer", "seeds=4", "dry", "--json"]) == 0
    held = json.loads(capsys.readouterr().out)
    assert [v["name"] for v in held["variants"]] == ["recipe", "model/norm=layer"]
    recipe, layer = held["hours"]["variants"]
    assert (recipe["variant"], recipe["runs"], recipe["seconds_of_a_step"]) == ("recipe", 4, pytest.approx(0.01))
    assert recipe["hours"] == pytest.approx(4 * recipe["seconds_of_a_run"] / 3600)
    assert held["hours"]["total"] == pytest.approx(recipe["hours"] + layer["hours"])
    assert held["refused"] == [{"overrides": ["model/norm=rms"], "reason": "is the recipe as it is"}]


def test_json_is_the_study_and_nothing_else(capsys):
    assert main(["ablate", "recipe=./tiny.yaml", "model/norm=rms,layer", "seeds=1", "--json"]) == 0
    held = json.loads(capsys.readouterr().out)
    assert [v["name"] for v in held["variants"]] == ["recipe", "model/norm=layer"]
    assert held["runs"][0]["curve"] == {
        "step": [10, 40],
        "val_loss": [5.0, pytest.approx(held["runs"][0]["figures"]["val_loss"])],
    }
    assert "seconds" not in held["runs"][0]["figures"]


def test_what_a_killed_study_left_running_is_waited_for_and_taken(monkeypatch):
    monkeypatch.setenv("ORPHAN", "1")
    found = ablate("model/norm=rms,layer", seeds=1).study
    assert [(r.state, r.figures["val_loss"] == 1.5) for r in found.runs] == [("done", False), ("done", True)]


def test_the_launcher_may_be_another():
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    assert len(ablate("model/norm=rms,layer", seeds=1, launcher="joblib").study.runs) == 2


@pytest.mark.parametrize(
    ("overrides", "more", "says"),
    [
        ((), {}, "nothing is compared"),
        (("model/norm=rms,layer",), {"stop": "soon"}, "stop: unknown rule 'soon'; stop=doubtless"),
        (("model/norm=rms,layer",), {"stop": "doubtless"}, "stop: looks first after 3 seeds, and with seeds=3 none are left"),
        (("model/norm=rms,layer",), {"seeds": 0}, "seeds: 0 is no number from 1"),
        (("model/norm=rms,layer",), {"tune": "optimizer.lrr:3"}, "optimizer.lrr: is to be tuned, and this variant has no such"),
        (("model/norm=lyaer,rms",), {}, "^model.norm: unknown norm 'lyaer'; did you mean 'layer'"),
        (("model/norm=layer,dynamic_tanh,lyaer",), {}, "^model.norm: unknown norm 'lyaer'; did you mean 'layer'"),
        (("model.n_layers=1,two", "model/norm=layer,rms"), {}, "^model.n_layers: 'two' is not int"),
        (("model.n_leyers=1,2", "model/norm=layer,rms"), {}, r"nothing of model\.n_leyers can be trained \(.*did you mean"),
        (("model/norm=rms,layer", "trainer.max_steps=null", "trainer.max_epochs=1"), {}, "set trainer.max_steps=N"),
        (("model/norm=rms,layer",), {"launcher": "nope", "match": "time"}, "Could not find 'hydra/launcher/nope'"),
        (("model/norm=rms,layer",), {"launcher": "nope", "dry": True}, "Could not find 'hydra/launcher/nope'"),
        (("model/norm=rms,layer",), {"jobs": 0}, "jobs: 0 is no whole number above 0"),
        (("model/norm=rms,layer",), {"launcher": "basic", "jobs": 2}, "jobs: the launcher basic cannot be told how many"),
    ],
)
def test_what_cannot_be_asked(overrides, more, says, trained):
    with pytest.raises(UserError, match=says):
        ablate(*overrides, **more)
    assert not trained(), "refused before anything runs"


def test_a_figure_that_no_run_has_costs_one_run(trained):
    with pytest.raises(UserError, match="metric: the first run has no figure 'val_lss'; did you mean 'val_loss'"):
        ablate("model/norm=rms,layer", seeds=3, metric="val_loss,val_lss")
    assert len(trained()) == 1
    with pytest.raises(UserError, match="metric: the first run has no figure 'val_lss'"):
        ablate("model/norm=rms,layer", seeds=3, metric="val_lss", tune="optimizer.lr:3")
    assert len(trained()) == 2
    assert ablate("model/norm=rms,layer", seeds=1, metric="step,val_loss").study.metric == "step"
    assert len(trained()) == 3, "the first run counts"


def test_jobs_are_told_to_a_launcher_in_its_own_word(tmp_path):
    place = tmp_path / "conf" / "hydra" / "launcher"
    place.mkdir(parents=True)
    (place / "array.yaml").write_text("_target_: theirs\narray_parallelism: 256\n")
    assert launching("array", 4, tmp_path).words == ("hydra/launcher=array", "hydra.launcher.array_parallelism=4")
    assert launching(None, 4, tmp_path).words == ("hydra.launcher.n_jobs=4",)
    assert launching("array", None, tmp_path).words == ("hydra/launcher=array",), "how many a cluster takes is its own matter"


@pytest.mark.parametrize(("jobs", "at_a_time", "each"), [(None, 6, "1"), (2, 2, "1"), (1, 1, None)])
def test_a_launcher_that_would_take_all_cores_is_told_how_many(jobs, at_a_time, each, monkeypatch, capsys):
    """joblib's -1 is a process for each core: with as many threads each they would wait for one another."""
    monkeypatch.setattr(threads, "cores", lambda: 6)
    for name in threads.COUNTS:
        monkeypatch.delenv(name, raising=False)
    seen = []

    def note(*of, **_):
        seen.append((*of[2], os.environ.get("OMP_NUM_THREADS")))
        raise UserError("launcher", "enough was seen")

    monkeypatch.setattr(executing, "run_jobs", note)
    with pytest.raises(UserError, match="enough"):
        components.ablate("llama_tiny", ["model/norm=rms,layer"], jobs=jobs, launcher="joblib")
    assert seen == [("hydra/launcher=joblib", f"hydra.launcher.n_jobs={at_a_time}", each)]
    said = "launcher=joblib: 6 runs at a time, 1 thread each (jobs=N takes another number)"
    assert (said in capsys.readouterr().out) is (jobs is None)
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_study_keeps_its_question():
    folder = ablate("model/norm=rms,layer", seeds=1).folder
    with pytest.raises(UserError, match="match: is part of the study's question"):
        components.ablate(study=folder, match="flops", quiet=True)
    with pytest.raises(UserError, match="no such study"):
        components.ablate(study="nothing", quiet=True)
    (folder / "asked.json").write_text('{"words": 3}')
    with pytest.raises(UserError, match="is damaged"):
        components.ablate(study=folder, quiet=True)
