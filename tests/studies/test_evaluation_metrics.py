"""Studies that are decided by what an evaluation finds: names, directions, once for each run, and statistics as of any other figure."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import components
from components.cli import main
from components.core.errors import UserError
from components.parts.evaluation.cloze import Cloze
from components.studies.asked import read_asked
from components.studies.metrics import metrics_of
from components.studies.study import read_study

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))
import tiny_recipe

RECIPE = ("recipe=./tiny.yaml",)
ASKED = ("model/norm=rms,layer", "evaluation.calibration.count=8", "evaluation.calibration.bins=4")
METRIC = "calibration.expected_calibration_error,calibration.accuracy,val_loss"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    return tiny_recipe.write(tmp_path, monkeypatch)


@pytest.fixture
def measured(monkeypatch):
    """The runs that were really evaluated, with what the evaluation was told."""
    from components.studies import evaluated

    real, found = evaluated.evaluate, []

    def evaluate(run, overrides):
        found.append((Path(run).name, overrides))
        return real(run, overrides)

    monkeypatch.setattr(evaluated, "evaluate", evaluate)
    return found


@pytest.mark.parametrize(
    ("metric", "is_lower"),
    [
        ("val_loss", True),
        ("exact_match", False),
        ("calibration.accuracy", False),
        ("calibration.expected_calibration_error", True),
        ("calibration.largest_gap,calibration.confidence", True),
        ("minimal_pairs.is_are", False),
        ("parse_rate.accepted,val_loss", False),
        ("val_loss,cloze.accuracy", True),
    ],
)
def test_which_way_is_better_is_said_by_the_evaluation(metric, is_lower):
    made = metrics_of(metric.split(","), RECIPE, Path.cwd())
    assert made.lower is is_lower
    assert str(made) == f"decided by {metric.split(',')[0]}, {'lower' if is_lower else 'higher'} is better"


def test_an_option_decides_which_figures_there_are():
    made = metrics_of(["calibration.top_3_accuracy"], (*RECIPE, "evaluation.calibration.top=3"), Path.cwd())
    assert made.overrides == ["evaluation=[calibration]", "evaluation.calibration.top=3"]
    with pytest.raises(
        UserError, match=r"evaluation calibration has no figure 'top_3_accuracy'; did you mean 'top_5_accuracy'"
    ):
        metrics_of(["calibration.top_3_accuracy"], RECIPE, Path.cwd())


@pytest.mark.parametrize(
    ("metric", "words", "says"),
    [
        (
            "clze.accuracy",
            (),
            r"metric: clze.accuracy: there is no evaluation 'clze'; did you mean 'cloze'\? evaluations: calibration, cloze",
        ),
        (
            "cloze.acuracy",
            (),
            r"metric: evaluation cloze has no figure 'acuracy'; did you mean 'accuracy'\? figures: accuracy, by_frequency",
        ),
        ("val_loss,cloze.acuracy", (), "did you mean 'accuracy'"),
        ("cloze", (), "metric: cloze is an evaluation, and not one of its figures; .*write cloze.accuracy"),
        (
            "cloze.by_frequency",
            (),
            "metric: neither more nor less of cloze.by_frequency is better; put it behind another figure",
        ),
        ("cloze.accuracy", ("evaluation.cloze.cuont=5",), "evaluation/cloze has no option 'cuont'; did you mean 'count'"),
        ("cloze.accuracy", ("evaluation=[cloze]",), "evaluation: is said by the figures of a study; metric=cloze.accuracy"),
        (
            "val_loss",
            ("evaluation.cloze.count=5",),
            "evaluation.cloze: none of its figures is asked for; add metric=cloze.FIGURE",
        ),
    ],
)
def test_what_is_not_there_is_refused_before_anything_runs(metric, words, says):
    with pytest.raises(UserError, match=says) as refused:
        components.ablate("./tiny.yaml", ("model/norm=rms,layer", *words), metric=metric, quiet=True)
    assert "\n" not in str(refused.value)
    assert not Path("runs").exists()


def test_an_evaluation_that_does_not_say_its_figures_decides_nothing(monkeypatch):
    monkeypatch.setattr(Cloze, "gives", {})
    with pytest.raises(UserError, match="evaluation/cloze does not say which figures it has; declare gives"):
        metrics_of(["cloze.accuracy"], RECIPE, Path.cwd())


def test_a_law_over_sizes_is_of_a_loss():
    with pytest.raises(UserError, match=r"'calibration\.expected_calibration_error' is no loss: a law says how one falls"):
        components.scale("./tiny.yaml", (), metric="calibration.expected_calibration_error", quiet=True)


@pytest.mark.usefixtures("warm_processes")
def test_runs_are_evaluated_once_and_the_answer_is_of_the_evaluation(measured, capsys):
    pytest.importorskip("scipy")
    words = ["ablate", *RECIPE, *ASKED, f"metric={METRIC}"]
    assert main([*words, "seeds=2", "jobs=2"]) == 0
    said = capsys.readouterr().out
    assert "decided by calibration.expected_calibration_error, lower is better" in said
    (study,) = Path("runs/studies").glob("tiny_*")
    held = read_study(study)
    assert (held.metric, held.secondary, held.lower_is_better) == (METRIC.split(",")[0], tuple(METRIC.split(",")[1:]), True)
    pool = study.parent / "runs"
    assert sorted(name for name, _ in measured) == sorted(p.name for p in pool.iterdir()), "each run once"
    for run in held.runs:
        own = components.evaluate(study / run.folder, ["evaluation=[calibration]", *ASKED[1:]])["evaluations"]["calibration"]
        assert own["accuracy"]["count"] > 0
        for name in ("expected_calibration_error", "accuracy"):
            assert run.figures[f"calibration.{name}"] == own[name]["value"], "as components evaluate says it"
    (row,) = [r for r in json.loads((study / "answer.json").read_text())["rows"] if not r["is_recipe"]]
    values = {(r.variant, r.seed): r.figures[held.metric] for r in held.runs}
    apart = [values["model/norm=layer", s] - values["recipe", s] for s in (0, 1)]
    assert row["effect"]["differences"] == pytest.approx(apart)
    assert row["effect"]["p"] is not None, "a paired test"
    assert (study / "intervals.png").is_file()
    assert "calibration.expected_calibration_error" in (study / "report.html").read_text()

    before = (study / "study.json").read_bytes()
    assert main([*words, "seeds=2"]) == 0
    assert (study / "study.json").read_bytes() == before
    assert len(measured) == 4, "what is kept is not measured again"
    assert read_asked(study).metric == METRIC
    lost = next((study / "evaluations").iterdir())
    lost.unlink()
    assert main(["ablate", study.name, "seeds=2"]) == 0
    assert [name for name, _ in measured[4:]] == [lost.stem], "only what a killed study had not measured"
    assert (study / "study.json").read_bytes() == before
    lost.write_text("{}")
    assert main(["ablate", study.name, "seeds=2"]) == 1
    failed = [r for r in read_study(study).runs if r.state == "failed"]
    assert "is damaged: it holds no figures" in failed[0].error


@pytest.mark.usefixtures("warm_processes")
def test_what_the_data_cannot_answer_costs_one_run():
    with pytest.raises(UserError, match=r"evaluation\.few_shot: the data have text, and no examples with answers"):
        components.ablate("./tiny.yaml", ("model/norm=rms,layer",), seeds=3, metric="few_shot.accuracy", quiet=True)
    assert len([*Path("runs/studies/runs").iterdir()]) == 1
