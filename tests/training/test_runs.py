"""A run leaves what it says: files, figures that agree with one another, and a model that loads."""

from __future__ import annotations

import json
import math
import warnings
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

import components
from components.core.errors import UserError
from components.core.sockets import Layer
from components.evaluating.evaluation import evaluate
from components.runs import checkpoints
from components.runs.curves import draw, figure_of, sparkline
from components.runs.metrics_file import COLUMNS, MetricsFile, read_rows
from components.runs.run_folder import find_run, new_folder
from components.training import devices, limits
from components.training.experiment import Job, fit


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run that several tests look at; its config as given."""
    from tiny_runs import make_tiny

    config = make_tiny(tmp_path_factory.mktemp("run"))(
        task={"samples": 3, "sample_tokens": 12, "prompts": ["the old", "a"]}, loss={"name": "next_token", "z_loss": 1e-3}
    )
    return fit(Job(config, "tiny", ["model.norm: rms -> layer"], quiet=True)), config


def test_files_and_figures(finished):
    result, config = finished
    folder = result.folder
    assert folder.parent.name == "tiny"
    assert {f.name for f in folder.iterdir()} == {
        "config.yaml",
        "metrics.csv",
        "curves.png",
        "samples.txt",
        "checkpoints",
        "tokenizer.json",
        "summary.json",
        "run.json",
    }
    assert (folder / "curves.png").stat().st_size > 5000
    text = (folder / "config.yaml").read_text()
    assert "# difference: model.norm: rms -> layer" in text
    assert yaml.safe_load(text) == config
    more = ("train_z_loss", "grad_norm", "val_perplexity")  # what this loss and this trainer say besides
    assert (folder / "metrics.csv").read_text().splitlines()[0] == ",".join((*COLUMNS, *more))
    rows = read_rows(folder / "metrics.csv")
    assert [r["step"] for r in rows] == [5, 10, 15, 20]
    assert all(r[c] is not None and math.isfinite(r[c]) for r in rows for c in COLUMNS)
    assert [r["tokens"] for r in rows] == [5 * 128, 10 * 128, 15 * 128, 20 * 128]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["state"] == "finished"
    assert summary["val_loss"] == pytest.approx(rows[-1]["val_loss"], rel=1e-6)
    about = json.loads((folder / "run.json").read_text())
    assert about["versions"]["torch"] == metadata.version("torch")  # torch itself may add its build: 2.14.1+cu130
    assert about["data"]["hash"]
    assert (folder / "samples.txt").read_text().count("=== step") == 4 * 3
    assert "=== step 20, sample 2 ===\na" in (folder / "samples.txt").read_text()


def test_best_and_last(finished):
    result, config = finished
    best, last = (checkpoints.read(result.folder / "checkpoints" / f"{n}.ckpt") for n in ("best", "last"))
    assert last["global_step"] == 20
    assert best["global_step"] == result.figures["best_step"]
    assert last["components"]["config"] == config


def as_stored(request, *, base, cwd, command="", source=""):
    """Instead of composing: what the checkpoint holds."""
    assert request.recipe is None
    assert cwd
    assert ([*request.overrides], command) == ([], "")
    assert source
    return SimpleNamespace(config=base)


def test_a_moved_checkpoint_loads_alone(finished, tmp_path, monkeypatch):
    result, config = finished
    monkeypatch.setattr("components.runs.loading.compose_request", as_stored)
    moved = tmp_path / "moved.ckpt"
    moved.write_bytes((result.folder / "checkpoints" / "best.ckpt").read_bytes())
    loaded = components.load(moved)
    assert not loaded.model.training
    assert loaded.config == config
    ids = torch.tensor([loaded.tokenizer.encode("the old tree")])
    assert loaded.model(ids).shape == (1, ids.shape[1], loaded.tokenizer.vocab_size)
    state = torch.get_rng_state()
    a, b, c = (loaded.generate("the old", max_new_tokens=9, seed=s) for s in (1, 1, 2))
    assert a == b != c
    assert a.startswith("the old")
    assert torch.equal(state, torch.get_rng_state())
    pieces: list[str] = []
    text = loaded.generate("the old", max_new_tokens=9, seed=1, on_text=pieces.append)
    assert text == a
    assert pieces
    assert text.startswith("the old" + "".join(pieces))
    # what is held back at the end is a character that did not become whole
    assert text.removeprefix("the old" + "".join(pieces)).strip("\N{REPLACEMENT CHARACTER}") == ""
    assert len(loaded.generate("a", count=3, max_new_tokens=2)) == 3


def test_evaluation_gives_the_figures_of_the_run(finished, monkeypatch):
    result, _ = finished
    monkeypatch.setattr("components.runs.loading.compose_request", as_stored)
    loaded = components.load(result.folder)
    found = evaluate(loaded)
    assert found["loss"] == pytest.approx(result.figures["best_val_loss"], rel=1e-5)
    assert found["bits_per_byte"] == pytest.approx(result.figures["best_val_bits_per_byte"], rel=1e-5)
    assert evaluate(loaded, rows=3)["loss"] == pytest.approx(found["loss"], rel=1e-5)
    assert evaluate(loaded, "test")["documents"] != found["documents"]


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({"task": {"activation_checkpointing": True}}, 1e-6),
        ({"task": {"batch_size": 1, "batch_tokens": 130}}, 1e-6),
        ({"trainer": {"precision": "bf16-mixed"}}, 2e-2),
        ({"trainer": {"precision": "bf16-true"}}, 5e-2),
        ({"trainer": {"precision": "64-true"}}, 1e-5),
    ],
)
def test_the_same_run_in_other_ways(finished, tiny, changes, tolerance):
    short = {
        "trainer": {"max_steps": 20, "log_every_n_steps": 5, "limit_val_batches": 0},
        "loss": {"name": "next_token", "z_loss": 1e-3},
    }
    short["trainer"].update(changes.get("trainer", {}))
    done = fit(Job(tiny(**{**changes, **short}), "other", quiet=True))
    expected = read_rows(finished[0].folder / "metrics.csv")
    got = read_rows(done.folder / "metrics.csv")
    assert got[0]["train_loss"] == pytest.approx(expected[0]["train_loss"], rel=tolerance)


def test_compiled_layers_learn_the_same_under_the_same_names(tiny, monkeypatch):
    monkeypatch.setattr(Layer, "compile", lambda self, **options: torch.nn.Module.compile(self, backend="eager", **options))
    short = {"max_steps": 5, "limit_val_batches": 0}
    plain, compiled = (fit(Job(tiny(trainer=short, task={"compile": how}), how, quiet=True)) for how in ("none", "layers"))
    a, b = (checkpoints.weights_in(checkpoints.read(d.folder / "checkpoints" / "last.ckpt")) for d in (plain, compiled))
    assert list(a) == list(b)
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, rtol=1e-4, atol=1e-5)


def test_early_stopping_and_limits_by_tokens(tiny):
    stopping = {"callbacks": {"early_stopping": {"patience": 1, "min_delta": 100.0}}}
    figures = fit(Job(tiny(**stopping), "early", quiet=True)).figures
    assert (figures["step"], figures["state"]) == (10, "stopped early")
    assert fit(Job(tiny(trainer={"max_tokens": 1000}), "tokens", quiet=True)).figures["tokens"] == 7 * 128
    with pytest.raises(UserError, match="early_stopping"):
        fit(Job(tiny(callbacks={"early_stoping": {}}), "typo", quiet=True))


def test_a_validation_of_a_part_says_of_how_much(tiny, capsys):
    some = fit(Job(tiny(task={"validation_batches": 2}, trainer={"max_steps": 5}), "some"))
    said, rows = some.figures["validated"], int(some.figures["validated"].split()[2])
    assert said == f"16 of {rows} rows (task.validation_batches)"
    assert rows > 16
    assert said in capsys.readouterr().out
    fewer = fit(
        Job(tiny(task={"validation_batches": 2}, trainer={"max_steps": 5, "limit_val_batches": 1}), "fewer", quiet=True)
    )
    assert fewer.figures["validated"] == f"8 of {rows} rows (trainer.limit_val_batches)"
    whole = fit(Job(tiny(trainer={"max_steps": 5}), "whole", quiet=True))
    assert "validated" not in whole.figures


def test_the_data_judge_samples(tiny, monkeypatch, capsys):
    from components.parts.data.text import Text

    def judge(text):
        """It has a vowel."""
        return any(v in text for v in "aeiou")

    monkeypatch.setattr(Text, "judge", staticmethod(judge), raising=False)
    done = fit(Job(tiny(task={"judged_samples": 4, "sample_tokens": 20}), "judged"))
    assert done.figures["accepted"].endswith("of 4: It has a vowel")
    assert "samples accepted" in capsys.readouterr().out


def test_a_loss_that_is_not_finite_ends_the_run(tiny):
    config = tiny(optimizer={"name": "sgd", "lr": 1e30}, trainer={"gradient_clip_val": None, "log_every_n_steps": 1})
    with pytest.raises(UserError, match=r"loss is nan at step .*lower optimizer.lr"):
        fit(Job(config, "nan", quiet=True))
    (folder,) = Path(config["paths"]["runs"]).glob("nan/*")
    assert json.loads((folder / "summary.json").read_text())["state"] == "failed"
    assert (folder / "metrics.csv").exists()


def test_lengths():
    assert limits.total_steps({"max_steps": 50, "max_tokens": 1000}, 7, 100) == 10
    assert limits.total_steps({"max_epochs": 3}, 7, 100) == 21
    assert limits.total_steps({"max_steps": -1, "max_epochs": 2}, 7, 100) == 14
    with pytest.raises(UserError, match="beside max_time"):
        limits.total_steps({"max_time": "00:00:01:00"}, 7, 100)
    with pytest.raises(UserError, match="did you mean 'max_steps'"):
        limits.trainer_settings({"max_stepz": 3})
    with pytest.raises(UserError, match="does not depend on devices"):
        limits.trainer_settings({"use_distributed_sampler": True})


def test_hardware_that_would_go_wrong_is_refused(monkeypatch):
    cpu = {"accelerator": "cpu"}
    for precision in ("16-mixed", 16):
        with pytest.raises(UserError, match="needs a GPU"):
            devices.check_hardware({**cpu, "precision": precision})
    monkeypatch.setenv("WORLD_SIZE", "2")
    devices.check_hardware({**cpu, "devices": 2})
    for count in (1, "auto", 4):
        with pytest.raises(UserError, match="started 2 processes"):
            devices.check_hardware({**cpu, "devices": count})


def test_several_machines_of_which_nothing_is_told_are_not_waited_for(monkeypatch):
    for name in ("WORLD_SIZE", *devices.TELL_OF_OTHERS):
        monkeypatch.delenv(name, raising=False)
    nodes = {"accelerator": "cpu", "devices": 2, "num_nodes": 2}
    with pytest.raises(UserError, match=r"trainer\.num_nodes: 2 machines, and nothing tells .*torchrun or srun"):
        devices.check_hardware(nodes)
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    devices.check_hardware(nodes)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"keep_every": 5}, "trainer.keep_every"),
        ({"keep_last": 2}, "trainer.keep_last"),
        ({"strategy": {"name": "fsdp2", "checkpoint": "sharded"}}, "trainer.strategy.checkpoint"),
    ],
)
def test_what_is_about_checkpoints_is_refused_where_none_is_written(words, says):
    limits.trainer_settings({"max_steps": 5, **words})
    with pytest.raises(UserError) as e:
        limits.trainer_settings({"max_steps": 5, "enable_checkpointing": False, **words})
    assert str(e.value).startswith(f"{says}: is about checkpoints")


def test_run_folders(tmp_path):
    one, two = new_folder(tmp_path, "a"), new_folder(tmp_path, "a")
    assert one != two
    for folder, began in ((one, 1.0), (two, 2.0)):
        (folder / "run.json").write_text(json.dumps({"began": began}))
    assert find_run(one.name, tmp_path)[0] == one
    assert find_run(f"a/{two.name}", tmp_path)[0] == two
    assert find_run(str(one), tmp_path)[0] == one
    (one / "checkpoints" / "last.ckpt").touch()
    assert find_run("auto", tmp_path)[0] == one
    of_a_study = tmp_path / "studies" / "runs" / "00ff"
    (of_a_study / "checkpoints").mkdir(parents=True)
    (of_a_study / "run.json").write_text(json.dumps({"began": 3.0}))
    (of_a_study / "checkpoints" / "last.ckpt").touch()
    assert find_run("auto", tmp_path)[0] == one, "nobody has started that of a study"
    assert find_run("00ff", tmp_path)[0] == of_a_study
    (one / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(UserError, match=r"^auto: no run with a checkpoint in .* but those of studies; name one: .*00ff"):
        find_run("auto", tmp_path)
    with pytest.raises(UserError, match="no such run"):
        find_run("1999", tmp_path)


def test_rows_of_one_step_become_one_and_are_cut(tmp_path):
    file = MetricsFile(tmp_path / "m.csv")
    file.open()
    for step in (1, 2, 3):
        file.add(step, train_loss=float(step))
        file.add(step, val_loss=2.0 * step)
    file.flush()
    rows = read_rows(file.path)
    assert [(r["step"], r["train_loss"], r["val_loss"], r["lr"]) for r in rows] == [(s, s, 2 * s, None) for s in (1, 2, 3)]
    again = MetricsFile(file.path)
    again.open(upto=2)
    assert [r["step"] for r in read_rows(file.path)] == [1, 2]


def test_a_row_that_is_written_already_is_gone_on_with(tmp_path):
    """Stopped between a step and its validation; a count stays a count when it is written again."""
    file = MetricsFile(tmp_path / "m.csv")
    file.open()
    for step in (1, 2):
        file.add(step, tokens=123_456_789 * step, train_loss=0.1)
    file.flush()
    again = MetricsFile(file.path)
    again.open(upto=2)
    again.add(2, val_loss=3.0, val_accuracy=0.5)
    again.add(3, train_loss=0.2)
    again.flush()
    assert [(r["step"], r["train_loss"], r["val_loss"], r["val_accuracy"]) for r in read_rows(file.path)] == [
        (1, 0.1, None, None),
        (2, 0.1, 3.0, 0.5),
        (3, 0.2, None, None),
    ]
    assert "123456789" in file.path.read_text()


def test_curves_of_any_length(tmp_path):
    rows = [{"step": i, "train_loss": 5.0 / (i + 1), "val_loss": None, "lr": 0.1} for i in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for runs in ({"a": rows}, {"a": rows, "b": rows[:1]}):
            draw(runs, tmp_path / "c.png", "title")
            assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    assert sparkline([3.0, 2.0, 1.0]) == "█▄▁"
    assert sparkline([1.0]) == "▁"


def test_what_a_task_measures_has_a_panel_of_its_own():
    """Train and validation loss in one picture, accuracy and the like below; perplexity is the loss again."""
    text = [{"step": i, "train_loss": 3.0, "val_loss": 2.0, "val_perplexity": 7.4, "val_bits_per_byte": 1.0} for i in (1, 2)]
    label = [{"step": i, "train_loss": 3.0, "val_loss": 2.0, "val_accuracy": 0.5 * i, "val_f1": 0.1} for i in (1, 2)]
    amount = [{"step": 1, "train_loss": 3.0, "val_loss": 2.0, "val_mean_absolute_error": 12.0}]
    loss, rate = figure_of({"a": text}, "one").axes
    assert (loss.get_ylabel(), rate.get_ylabel()) == ("loss (nats per token)", "learning rate")
    assert [t.get_text() for t in loss.get_legend().get_texts()] == ["train", "validation"]
    loss, measured, _ = figure_of({"a": label}, "one").axes
    assert loss.get_ylabel() == "loss"
    assert [(line.get_label(), list(line.get_ydata())) for line in measured.lines] == [
        ("accuracy", [0.5, 1.0]),
        ("f1", [0.1, 0.1]),
    ]
    assert measured.get_ylim() == (0, 1.02)
    _, both, _ = figure_of({"a": text, "b": label, "c": label}, "three").axes
    assert [t.get_text() for t in both.get_legend().get_texts()] == ["accuracy", "f1"]
    assert {(line.get_color(), line.get_linestyle()) for line in both.lines} == {
        (c, d) for c in ("C1", "C2") for d in ("-", "--")
    }
    assert figure_of({"a": amount}, "one").axes[1].get_ylim()[1] > 12
