"""``components scale``: the ladder keeps the recipe's proportions, the prediction is written before its run, and a study goes on. Runs are stand-ins."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("scipy")

import components
from components.cli import main
from components.compose import jobs
from components.compose.grammar import flat
from components.core.errors import UserError
from components.studies.sizes.ladder import base_of, ladder, next_rung
from components.studies.sizes.question import Question, parameters_of, size_of
from components.studies.study import read_study

pytestmark = pytest.mark.usefixtures("warm_processes")

RECIPE = """defaults:
  - override /tokenizer: byte
  - override /optimizer: adamw
  - _self_
model: {d_model: 96, n_layers: 2, context_length: 16, attention: {n_heads: 6, n_kv_heads: 3}, ffn: {d_ff: 240}}
optimizer: {lr: 0.01}
trainer: {max_steps: 400, precision: 32-true}
"""
# a run: its loss falls with width times steps; it notes whether a prediction lay there when it began
CHILD = """
import glob, json, os, random, sys
folder, words = os.environ["COMPONENTS_JOB_FOLDER"], sys.argv[1:]
said = dict(w.split("=", 1) for w in words)
width, steps, seed = int(said.get("model.d_model", 96)), int(said["trainer.max_steps"]), int(said["seed"])
if str(width) == os.environ.get("FAILS"):
    print("error: this width fails"), sys.exit(2)
rate = abs(float(said.get("optimizer.lr", 0.01)) - 0.01)
loss = 1.5 + 20 / (width**2 * steps) ** 0.2 + rate + random.Random(f"{width} {seed}").gauss(0, 0.001)
with open(folder + "/metrics.csv", "w") as f:
    f.write("step,seconds,val_loss,val_bits_per_byte\\n10,0.1,5.0,2.5\\n%d,9.0,%f,%f\\n" % (steps, loss, loss / 2))
json.dump({"state": "finished", "val_loss": loss, "val_bits_per_byte": loss / 2, "seconds": 0.5, "step": steps}, open(folder + "/summary.json", "w"))
there = [json.load(open(p))["found"] for p in glob.glob(folder + "/../../*/prediction.json")]
with open(os.environ["TRAINED"], "a") as f:
    f.write(json.dumps({"width": width, "steps": steps, "seed": seed, "predictions": there}) + "\\n")
"""


@pytest.fixture(autouse=True)
def trained(tmp_path, monkeypatch):
    """What each run that was really started noted."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(RECIPE)
    Path("child.py").write_text(CHILD)
    monkeypatch.setattr(jobs, "COMMAND", (sys.executable, str(tmp_path / "child.py")))
    monkeypatch.setenv("TRAINED", str(tmp_path / "trained.txt"))
    log = tmp_path / "trained.txt"
    return lambda: [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def asked(*words, **more):
    return Question(("recipe=./tiny.yaml", *words), **more).check()


def plans(question):
    base = base_of(question, Path.cwd())
    rungs = ladder(question, base, Path.cwd())
    return base, rungs, next_rung(question, base, max(v.parameters for v in rungs.variants), Path.cwd())


@pytest.mark.parametrize(("rate", "sizes"), [("mup", "33k,80k,122k,200k,414k"), ("own", "29k,66k,122k,200k,468k")])
def test_rungs_come_near_the_sizes_and_keep_proportions(rate, sizes):
    *some, last = sizes.split(",")
    base, rungs, beyond = plans(asked(sizes=",".join(some), rate=rate, next=last))
    for text, variant in zip((*some, last), (*rungs.variants, *beyond.variants), strict=True):
        wanted = size_of(text, "sizes")
        assert variant.parameters == pytest.approx(wanted, rel=0.05)
    for built in (*rungs.built.values(), *beyond.built.values()):
        had = flat(built.config)
        width, heads = had["model.d_model"], had["model.attention.n_heads"]
        assert width % heads == 0
        assert 14 <= width // heads <= 18
        assert had["model.ffn.d_ff"] == round(240 / 96 * width)
        assert heads == 2 * had["model.attention.n_kv_heads"]
        assert had["model.n_layers"] == (2 if rate == "mup" else max(1, round(2 * width / 96)))
        assert built.subject.parameters / built.steps == pytest.approx(
            base.recipe.subject.parameters / base.recipe.steps, rel=0.01
        )
        assert had["model.init.name"] == ("mup" if rate == "mup" else flat(base.recipe.config)["model.init.name"])
        if rate == "mup":
            assert had["model.init.base_width"] == 96


def test_a_ladder_that_is_counted_ends_at_the_recipe():
    base, rungs, beyond = plans(asked(sizes="3"))
    own = base.recipe.subject.parameters
    assert rungs.variants[-1].parameters == own
    assert rungs.variants[-1].steps == 400
    assert [v.parameters / own for v in (*rungs.variants, *beyond.variants)] == pytest.approx([0.25, 0.5, 1, 2], rel=0.25)


def test_several_tokens_for_each_parameter_are_runs_of_their_own():
    base, rungs, beyond = plans(asked(sizes="33k,80k,122k", tokens="4,2"))
    assert [v.name for v in rungs.variants] == [f"{n} x{r}" for n in ("33k", "80k", "122k") for r in (2, 4)]
    assert [round(v.steps * base.tokens_per_step / v.parameters) for v in rungs.variants] == [2, 4] * 3
    assert beyond.variants[0].steps * base.tokens_per_step / beyond.variants[0].parameters == pytest.approx(4, rel=0.01)


def scale(**more):
    return components.scale("./tiny.yaml", sizes="33k,80k,122k,200k", quiet=True, **more)


def test_the_prediction_lies_there_before_its_run_and_says_how_far_off_it_was(trained):
    made = scale(next="414k", seeds=2)
    *first, one, two = trained()
    assert [r["predictions"] for r in first] == [[]] * 8
    assert one["predictions"] == two["predictions"] == [None]
    assert one["width"] > max(r["width"] for r in first)
    found, said = made.prediction, json.loads((made.folder / "prediction.json").read_text())
    assert said["found"] is None
    assert said["before"] is True
    assert said["loss"] == found.loss
    truth = 1.5 + 20 / (one["width"] ** 2 * one["steps"]) ** 0.2
    assert found.found == pytest.approx(truth, abs=0.003)
    assert found.loss == pytest.approx(truth, abs=0.05)
    assert found.off == found.found - found.loss
    assert f"off by {found.off:+.4f}" in str(made)
    held = json.loads((made.folder / "law.json").read_text())
    assert held["prediction"]["found"] == found.found
    assert held["law"]["constants"] == made.law.constants
    assert held["backtest"]["off"] == made.backtest.off
    assert held["backtest"]["found"] == pytest.approx(
        sum(p.loss for p in made.points if p.parameters == max(q.parameters for q in made.points)) / 2
    )
    assert len(read_study(made.folder).runs) == 10
    for page in ("report.html", "report.md"):
        assert f"off by {found.off:+.4f}" in (made.folder / page).read_text()
        assert "Tested on itself: without 200k the ladder says" in (made.folder / page).read_text()


def test_a_study_goes_on_and_owns_up_to_a_prediction_that_came_late(trained):
    alone = scale()
    assert alone.prediction.found is None
    assert len(trained()) == 4
    known = scale(next="414k")
    assert known.folder == alone.folder
    assert len(trained()) == 5
    assert known.prediction.before
    files = {n: (known.folder / n).read_bytes() for n in ("study.json", "law.json", "prediction.json", "report.html")}
    scale(next="414k")
    assert len(trained()) == 5
    assert {n: (known.folder / n).read_bytes() for n in files} == files
    late = scale(next="414k", seeds=2).prediction  # other points, another prediction: and one of its runs is known by now
    assert not late.before
    assert "was made when a run of it was there" in late.sentence


def test_a_late_prediction_owns_up_where_each_size_tunes_its_rate(trained):
    """Runs that are reported have the rate that was tuned, so they lie elsewhere than untuned ones would."""

    def tuned(**more):
        return components.scale(
            "./tiny.yaml", sizes="29k,66k,122k", next="468k", tune="optimizer.lr:2", quiet=True, **more
        ).prediction

    known = tuned()
    assert known.before
    assert len(trained()) == 4 * 3
    assert tuned() == known
    assert not tuned(seeds=2).before


def test_a_study_goes_on_by_its_folder(trained, capsys):
    first = scale()
    assert components.scale(study=first.folder, next="414k", quiet=True).prediction.found is not None
    assert len(trained()) == 5
    assert main(["scale", first.folder.name, "seeds=2", "next=414k"]) == 0
    assert len(trained()) == 10
    assert str(first.folder / "report.html") in capsys.readouterr().out
    assert json.loads((first.folder / "asked.json").read_text())["seeds"] == 2
    for words, told in (
        (["sizes=5"], "is part of the study's question"),
        (["model.d_model=4"], "is part of the study's question"),
        (["other"], "is a second study"),
    ):
        assert main(["scale", str(first.folder), *words]) == 2
        assert told in " ".join(capsys.readouterr().err.split())
    assert main(["ablate", str(first.folder)]) == 2
    assert "components scale goes on with it" in " ".join(capsys.readouterr().err.split())
    assert len(trained()) == 10


def test_a_law_of_another_figure(capsys):
    made = scale(metric="val_bits_per_byte", next="414k")
    figures = {(r.variant, r.seed): r.figures for r in made.study.runs}
    assert [p.loss for p in made.points] == [figures[n, 0]["val_bits_per_byte"] for n in ("33k", "80k", "122k", "200k")]
    assert made.prediction.found == figures["414k", 0]["val_bits_per_byte"]
    for page in (str(made), *((made.folder / n).read_text() for n in ("report.md", "report.html"))):
        assert "val_bits_per_byte" in page
        assert "val_loss" not in page
    assert main(["scale", "recipe=./tiny.yaml", "sizes=33k,80k,122k", "metric=val_lost_loss"]) == 2
    assert "the first run has no figure" in " ".join(capsys.readouterr().err.split())


def test_a_size_that_fails_is_named_and_left_out(monkeypatch):
    width = flat(next(iter(plans(asked(sizes="33k,80k,122k,200k"))[1].built.values())).config)["model.d_model"]
    monkeypatch.setenv("FAILS", str(width))
    made = scale()
    assert len(made.points) == 3
    assert "33k, seed 0: this width fails" in str(made)


def test_each_size_tunes_by_itself():
    made = scale(tune="optimizer.lr:3", rate="own", grow="width")
    assert {v.name: v.tuned for v in made.study.variants} == {n: {"optimizer.lr": 0.01} for n in ("33k", "80k", "122k", "200k")}
    assert sum(r.role == "tuning" for r in made.study.runs) == 12
    told = (made.folder / "report.html").read_text()
    assert "What was tuned" in told
    assert told.count("<td>optimizer.lr = ") == 12


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sizes=2"], "fewer than 3"),
        (["sizes=33k,33k,80k"], "twice"),
        (["sizes=33k,80k,lots"], "no number of parameters"),
        (["sizes=3k,80k,122k"], "cannot be reached"),
        (["sizes=33k,80k,122k", "next=100k"], "not beyond the ladder"),
        (["tokens=many"], "no number of tokens"),
        (["tokens=0.01"], "steps of"),
        (["grow=taller"], "unknown value"),
        (["rate=fast"], "unknown value"),
        (["tune_steps=5"], "nothing is tuned"),
        (["model/norm=rms,layer"], "several values"),
        (["model/head=tied"], "tied head"),
        (["study"], "no such study"),
        (["metric=val_accuracy"], "is no loss"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words, told, capsys, trained):
    assert main(["scale", "recipe=./tiny.yaml", *words]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not trained()
    assert not Path("runs").exists()


def test_numbers_of_parameters():
    assert [size_of(t, "next") for t in ("0.5M", "200k", "1e6", "4 M", "7")] == [500_000, 200_000, 10**6, 4 * 10**6, 7]
    assert parameters_of("4", 800) == [100, 200, 400, 800]
    with pytest.raises(UserError, match="no number of parameters"):
        size_of("big", "next")


def test_a_dry_ladder_is_data_and_trains_nothing(trained, capsys):
    """Each size has its 20 steps measured, and that is all."""
    words = ["scale", "recipe=./tiny.yaml", "sizes=3", "tokens=recipe", "next=414k", "seeds=2", "dry"]
    assert main([*words, "--json"]) == 0
    held = json.loads(capsys.readouterr().out)
    assert [t["steps"] for t in trained()] == [20, 20, 20]
    assert (held["design"], held["runs"], held["law"], held["prediction"]) == ("sizes", [], None, None)
    assert not Path(held["folder"]).exists()
    names = [v["name"] for v in held["variants"]]
    assert names == [f"{v['parameters'] / 1000:.3g}k" for v in held["variants"]]
    assert [v["flops_per_token"] for v in held["variants"]] == sorted(v["flops_per_token"] for v in held["variants"])
    assert held["variants"][-1]["solved"] == {}  # the recipe's own size
    assert [v["parameters"] for v in held["beyond"]] == pytest.approx([414_000], rel=0.05)
    each = held["hours"]["variants"]
    assert [(h["variant"], h["runs"]) for h in each] == [(n, 2) for n in names]
    for hours, variant in zip(each, held["variants"]):
        assert hours["seconds_of_a_step"] == pytest.approx(8.9 / 10)  # as the stand-in notes them, after the first ten
        assert hours["seconds_of_a_run"] >= hours["seconds_of_a_step"] * variant["steps"]
        assert hours["hours"] == pytest.approx(2 * hours["seconds_of_a_run"] / 3600)
    assert held["hours"]["total"] == pytest.approx(sum(h["hours"] for h in each))
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "then, after the prediction:" in said
    assert "hours" in said
    assert len(trained()) == 3, "what was measured once is known"
