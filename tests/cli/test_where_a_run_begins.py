"""recipe=, resume= and init_from= in every spelling, and what a user can get wrong when training, in one line."""

# ruff: noqa: ARG001  fixtures
from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_recipe
import torch
import yaml

import components
from components.cli import main
from components.core.errors import UserError
from components.runs.checkpoints import read, weights_in


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tiny_recipe.write(tmp_path, monkeypatch)
    Path("resuming.yaml").write_text("defaults: [./tiny.yaml]\nresume: auto\n")
    Path("starting.yaml").write_text("defaults: [./tiny.yaml]\ninit_from: nowhere\n")
    return folder


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "resume=auto", "recipe=gpt_python"], "init_from="),
        (["train", "resume=auto"], "no run with a checkpoint"),
        (["train", "resume=nothing", "model.d_model=3"], "init_from=nothing"),
        (["train", "recipe=./tiny.yaml", "trainer.precision=16-true"], "bf16-mixed"),
        (["train", "recipe=./tiny.yaml", "trainer.strategy=fsdp", "trainer.devices=2"], "fsdp2"),
        (["train", "recipe=./tiny.yaml", "trainer.max_steps=null"], "max_tokens"),
        (["train", "recipe=./tiny.yaml", "trainer.accumulate_grad_batches=3"], "multiple of 3"),
        (["train", "recipe=./tiny.yaml", "recipe=gpt_python"], "given twice: ./tiny.yaml, gpt_python"),
        (["train", "recipe="], "no name after recipe="),
        (["train", "+recipe=./tiny.yaml", "++resume=auto"], "init_from="),
        (["train", "+resume=auto"], "no run with a checkpoint"),
        (["train", "resume="], "no name after resume="),
        (["train", "recipe=./tiny.yaml", "++init_from=nowhere"], "no such run or checkpoint"),
        (["train", "recipe=./resuming.yaml"], "write resume= on the command line"),
        (["train", "recipe=./starting.yaml"], "nowhere: no such run or checkpoint"),
        (["train", "recipe=./tiny.yaml", "trainer.accelerator=gpuu"], "trainer: "),
        (
            ["train", "recipe=./tiny.yaml", "optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip_val=null"],
            "nan at step",
        ),
        (["validate", "recipe=./tiny.yaml", "trainer.precision=foo"], "trainer.precision"),
        (["validate", "recipe=./tiny.yaml", "seed=abc"], "seed: 'abc'"),
        (["validate", "recipe=./tiny.yaml", "callbacks.foo=1"], "unknown callback 'foo'"),
        (["generate", "nowhere"], "no such run"),
        (["generate"], "no run is named"),
        (["evaluate"], "no run is named"),
        (["generate", "x", "--max-new-tokens", "abc"], "'abc' is not a whole number >= 1"),
        (["generate", "x", "--device", "nonsense"], "device: 'nonsense' is not here"),
        (["generate", "x", "resume=auto"], "leave it out"),
        (["evaluate", "tiny.yaml"], "checkpoint"),
        (["runs", "one"], "give two"),
    ],
)
def test_mistakes_are_one_line(here, capsys, words, says):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    (summary,) = Path(".").glob("runs/tiny/*/summary.json") if "nan" in says else [None]
    assert summary is None or json.loads(summary.read_text())["state"] == "failed"
    assert summary is not None or not Path("runs").exists()


def test_other_weights_to_begin_with(here, capsys):
    """However it is written, they are loaded, and the run says from where."""
    assert main(["train", "recipe=./tiny.yaml", "trainer.max_steps=2"]) == 0
    (first,) = Path("runs").glob("tiny/*")
    Path("starting.yaml").write_text(f"defaults: [./tiny.yaml]\ninit_from: {first}\n")
    short = ["trainer.max_steps=1", "task.samples=0", "optimizer=sgd", "optimizer.lr=1e-9"]
    source = str(first.absolute() / "checkpoints" / "best.ckpt")
    for words in (["recipe=./tiny.yaml", f"++init_from={first}"], ["recipe=./starting.yaml"]):
        capsys.readouterr()
        assert main(["train", *words, *short]) == 0
        assert f"init_from {source}: " in capsys.readouterr().out
        (run,) = [f.parent for f in Path("runs").glob("*/*/run.json") if json.loads(f.read_text())["init_from"]]
        assert json.loads((run / "run.json").read_text())["init_from"] == source
        assert yaml.safe_load((run / "config.yaml").read_text())["init_from"] == source
        a, b = (weights_in(read(f / "checkpoints" / "last.ckpt")) for f in (first, run))
        assert all(torch.allclose(a[n], b[n], atol=1e-6) for n in a)
        assert main(["train", f"resume={run}", "trainer.max_steps=2"]) == 0  # its own weights, not the first ones again
        assert "init_from " not in capsys.readouterr().out.split("run:")[1]
        (run / "run.json").unlink()
    made = components.load_recipe("./tiny.yaml", [f"+init_from={first}"])
    best = weights_in(read(Path(source)))
    assert all(torch.equal(v, best[n]) for n, v in made.model.state_dict().items())
    with pytest.raises(UserError, match="resume"):
        components.load_recipe("./tiny.yaml", ["resume=auto"])
    with pytest.raises(UserError, match=r"given twice: ./tiny.yaml, gpt_python"):
        components.train("./tiny.yaml", ["recipe=gpt_python"])
    assert main(["train", "recipe=./starting.yaml", "init_from=null", *short]) == 0
    assert "init_from " not in capsys.readouterr().out.split("run:")[1]


def test_recipes_of_like_names_do_not_share_a_folder(here, capsys):
    """A run's label is its path below the folder of runs, whatever dots and folders its recipe's name has."""
    Path("recipes/small").mkdir(parents=True)
    for file in ("recipes/small/gpt.yaml", "recipes/gpt.yaml", "gpt.v2.yaml"):
        Path(file).write_text(tiny_recipe.RECIPE)
    for name in ("small/gpt", "gpt", "./gpt.v2.yaml"):
        assert main(["train", f"recipe={name}", "trainer.max_steps=1", "data.path=text.txt", "task.samples=0"]) == 0
    runs = Path("runs")
    found = [str(f.parent.parent.relative_to(runs)) for f in runs.rglob("run.json")]
    assert sorted(found) == ["gpt", "gpt.v2", "small/gpt"]
    a, b = next(runs.glob("small/gpt/*")), next(runs.glob("gpt/*"))
    capsys.readouterr()
    assert main(["runs", str(a), str(b)]) == 0
    out = capsys.readouterr().out
    assert f"small/gpt/{a.name}" in out
    assert out.rsplit("curves: ", 1)[1].strip() == f"runs/compare_small-gpt-{a.name}_gpt-{b.name}.png"
