"""``components merge``: a run that every other verb takes, or one line that names the first difference."""

# ruff: noqa: ARG001  fixtures
from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_recipe
import torch
import yaml

import components
from components.cli import main
from components.compose import compose
from components.corpus.tokens import Tokens
from components.functional.slerp import slerp
from components.functional.ties import ties
from components.runs import checkpoints
from components.runs.foreign import Foreign, keep
from components.runs.loading import model_of
from components.runs.merging import Method, merged

SMALL = ["recipe=llama_tiny", "model.d_model=16", "model.n_layers=1", "model.context_length=16", "tokenizer=byte"]
TRAIN = ["trainer.max_steps=2", "task.validation_every=2", "task.samples=0", "data=text", "data.path=text.txt"]
# what does not fit to run a: words of its model, and the texts of its tokenizer
OTHERS: dict[str, tuple[list[str], str]] = {
    "layer": (["model/norm=layer"], ""),
    "wide": (["model.d_model=32"], ""),
    "learned": (["model/position=learned"], ""),
    "longer": (["model/position=learned", "model.context_length=32"], ""),
    "bpe": ([], "the tree stands under a stone "),
    "other": ([], "quite another word on these hills "),
}


def put(name: str, config: dict[str, Any], tokenizer: Tokens, weights: dict[str, torch.Tensor]) -> None:
    """A run with these weights."""
    keep(Foreign(config, weights, tokenizer, {"architecture": "own"}, []), Path(name), {}, "finished")


def noisy(given: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator) for name, tensor in given.items()}


def drawn(config: dict[str, Any], tokenizer: Tokens) -> dict[str, torch.Tensor]:
    model = model_of(config, tokenizer.vocab_size)
    return noisy({name: torch.zeros(t.shape) for name, t in model.state_dict().items()}, 3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with run a, its continuation with an adapter, b and c that began with a, and runs of other models."""
    folder = tmp_path_factory.mktemp("merged")
    with pytest.MonkeyPatch.context() as patch:
        tiny_recipe.write(folder, patch)
        trained = components.train(overrides=[*SMALL, *TRAIN, "paths.runs=at"], quiet=True)
        shutil.move(trained.folder, "a")
        file = Path("a/checkpoints/best.ckpt")
        held = checkpoints.read(file)
        config, tokens = held["components"]["config"], checkpoints.tokenizer_in(held, file)
        put("b", config, tokens, noisy(weights("a"), 1))
        dropout = {**config["model"], "dropout": 0.1} if "dropout" in config["model"] else config["model"]
        put("c", {**config, "model": dropout, "seed": 9}, tokens, noisy(weights("a"), 2))
        for name, (words, text) in OTHERS.items():
            other, found = compose(None, [*SMALL, *TRAIN, *words], cwd=folder).config, tokens
            if text:
                trainer = components.build("tokenizer", "bpe", vocab_size=265)
                trainer.train([text * 20])
                found = Tokens(trainer.core, trainer.roles)
            put(name, other, found, drawn(other, found))
        adapted = {**config, "adapter": compose(None, [*SMALL, "adapter=lora"], cwd=folder).config["adapter"]}
        put("lora", adapted, tokens, drawn(adapted, tokens) | weights("a"))
    return folder


@pytest.fixture
def here(made, monkeypatch):
    """The folder, without what an earlier test has merged."""
    monkeypatch.chdir(made)
    for old in ("out", "exported", "imported", "counted", "recounted", "runs"):
        shutil.rmtree(made / old, ignore_errors=True)
    return made


def weights(name: str) -> dict[str, torch.Tensor]:
    folder = Path(name) / "checkpoints"
    file = next(f for f in (folder / "best.ckpt", folder / "last.ckpt") if f.exists())
    return checkpoints.weights_in(checkpoints.read(file, "weights"))


def test_the_mean_of_three(here, capsys):
    assert main(["merge", "a", "b", "c", "--weights", "2,1,1", "--to", "out"]) == 0
    assert "linear of 3 runs, weights 2,1,1" in capsys.readouterr().out
    a, b, c, out = map(weights, ("a", "b", "c", "out"))
    assert out.keys() == a.keys()
    moved = 0
    for name in a:
        want = ((2 * a[name].double() + b[name].double() + c[name].double()) / 4).float()
        assert out[name].equal(want), name
        moved += not want.equal(a[name])
    assert moved > 5
    said = json.loads(Path("out/run.json").read_text())
    assert said["merged"] == {"how": "linear", "runs": ["a", "b", "c"], "weights": [2.0, 1.0, 1.0]}
    assert json.loads(Path("out/summary.json").read_text())["state"] == "merged"
    assert sorted(p.name for p in Path("out").iterdir()) == [
        "checkpoints", "config.yaml", "run.json", "summary.json", "tokenizer.json",
    ]  # fmt: skip


def test_between_two_and_by_majority(here):
    a, b, c = map(weights, "abc")
    assert main(["merge", "a", "b", "--how", "slerp", "--weights", "3,1", "--to", "out"]) == 0
    for name, out in weights("out").items():
        assert out.equal(slerp(a[name], b[name], 0.25).float()), name
    shutil.rmtree("out")
    words = ["--how", "ties", "--base", "a", "--density", "0.3", "--to", "out"]
    assert main(["merge", "b/checkpoints/last.ckpt", "c", *words]) == 0
    for name, out in weights("out").items():
        assert out.equal(ties(a[name], [b[name], c[name]], [1.0, 1.0], 0.3).float()), name
    assert json.loads(Path("out/run.json").read_text())["merged"]["density"] == 0.3


def test_every_verb_takes_the_result(here, capsys):
    assert main(["merge", "a", "a", "--to", "out"]) == 0
    capsys.readouterr()
    said = []
    for run in ("a", "out"):
        assert main(["evaluate", run, "--json"]) == 0
        said.append(json.loads(capsys.readouterr().out))
        assert main(["generate", run, "decoding=greedy", "--prompt", "the tree", "--max-new-tokens", "5"]) == 0
        said.append(capsys.readouterr().out)
    assert said[:2] == said[2:]  # the mean of a run with itself is that run, to the last bit
    assert main(["export", "out", "--to", "exported"]) == 0
    assert main(["import", "exported", "--to", "imported"]) == 0
    ids = torch.tensor([[5, 80, 99, 103]])  # an export lays rotated pairs out otherwise, so logits are what is compared
    torch.testing.assert_close(components.load("imported").model(ids), components.load("a").model(ids))
    assert main(["train", "recipe=out/config.yaml", "init_from=out", *TRAIN]) == 0
    assert "100.0% of the numbers" in capsys.readouterr().out
    assert main(["merge", "exported", "imported", "--to", "runs/both"]) == 0  # an imported run has no data of its own
    capsys.readouterr()
    for words, says in (
        (["evaluate", "runs/both"], "brings no data"),
        (["train", "resume=out"], "the run was merged: it has weights, but no optimizer state"),
    ):
        assert main(words) == 2
        assert says in capsys.readouterr().err


def test_an_adapter_is_folded_in(here):
    assert main(["merge", "a", "lora", "--to", "out"]) == 0
    a, lora, out = map(weights, ("a", "lora", "out"))
    assert out.keys() == a.keys() != lora.keys()
    name = next(n for n in lora if n.endswith(".lora_b")).removesuffix(".lora_b")
    options = yaml.safe_load(Path("lora/config.yaml").read_text())["adapter"]
    change = lora[f"{name}.lora_b"] @ lora[f"{name}.lora_a"] * options["alpha"] / options["rank"]
    assert change.abs().max() > 0
    want = a[f"{name}.weight"] + change / 2
    torch.testing.assert_close(out[f"{name}.weight"], want)
    assert yaml.safe_load(Path("out/config.yaml").read_text())["adapter"] == {"name": "none"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a", "layer"], "error: layer: is not the model of a: model.norm=layer where it has rms"),
        (["a", "wide"], "error: wide: is not the model of a: model.d_model=32 where it has 16"),
        (["learned", "longer"], "is (32, 16), and (16, 16) in learned"),
        (["a", "bpe"], "its tokenizer has 265 ids, and that of a 261"),
        (["bpe", "other"], "error: other: does not fit bpe: id "),
        (["b", "c", "--how", "ties", "--base", "layer"], "error: layer: is not the model of b"),
        (["a", "nothing"], "no such run"),
        (["a"], "the mean of one run is that run"),
        ([], "needs runs and --to RUN"),
        (["a", "b", "--weights", "1"], "--weights 1: has 1 numbers for 2 runs"),
        (["a", "b", "--weights", "1,-1"], "must be numbers >= 0"),
        (["a", "b", "--weights", "0,0"], "must be numbers >= 0"),
        (["a", "b", "--weights", "nan,1"], "must be numbers >= 0"),
        (["a", "b", "--density", "0.2"], "--density: has no meaning for --how linear"),
        (["a", "b", "--how", "slerp", "--base", "c"], "--base: has no meaning for --how slerp"),
        (["a", "b", "c", "--how", "slerp"], "it is given 3"),
        (["a", "b", "--how", "ties"], "needs the run that all of them began with"),
        (["a", "b", "--how", "ties", "--base", "c", "--density", "0"], "--density 0: must be in (0, 1]"),
    ],
)
def test_what_does_not_fit_is_one_line_and_nothing_is_written(here, capsys, words, says):
    before = sorted(here.rglob("*"))
    assert main(["merge", *words, "--to", "out"]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.rstrip().count("\n") == 0
    assert sorted(here.rglob("*")) == before


def test_an_existing_folder_and_words_that_are_no_numbers(here, capsys):
    assert main(["merge", "a", "b", "--to", "c"]) == 2
    assert "c: is there already" in capsys.readouterr().err
    assert main(["merge", "a", "b", "--to", "out", "--weights", "1,x"]) == 2
    assert "'x' is not a number" in capsys.readouterr().err


def counted(name: str, to: str, count: int) -> None:
    """A copy of a run with a buffer of whole numbers."""
    shutil.copytree(name, to)
    for file in (Path(to) / "checkpoints").glob("*.ckpt"):
        held = torch.load(file, weights_only=True)
        held["state_dict"]["model.steps"] = torch.tensor(count)
        torch.save(held, file)


def test_whole_numbers_are_equal_or_refused(here, capsys):
    counted("a", "counted", 7)
    counted("b", "recounted", 7)
    assert main(["merge", "counted", "recounted", "--to", "out"]) == 0
    assert weights("out")["steps"].equal(torch.tensor(7))
    shutil.rmtree("recounted")
    counted("b", "recounted", 8)
    assert main(["merge", "counted", "recounted", "--to", "runs/out"]) == 2
    assert "steps holds other whole numbers than in counted, and they have no mean" in capsys.readouterr().err


def test_tied_tensors_stay_one_and_lie_in_files(tmp_path):
    table, other = torch.randn(6, 4), torch.randn(6, 4)
    runs = [{"table": t, "head": t, "bias": t[0].clone(), "none": torch.empty(0, 4)} for t in (table, other)]
    out = dict(merged(Method("linear", (1.0, 1.0), 0.2), runs, None, tmp_path))
    assert out["table"].data_ptr() == out["head"].data_ptr() != out["bias"].data_ptr()
    assert out["none"].shape == (0, 4)
    assert sorted(f.stat().st_size for f in tmp_path.iterdir()) == [4 * 4, 6 * 4 * 4]
    torch.save(out, tmp_path / "saved")
    assert (tmp_path / "saved").stat().st_size < 2500


@pytest.mark.parametrize(
    ("dtypes", "want"),
    [
        (("bfloat16", "bfloat16"), "bfloat16"),
        (("bfloat16", "float16"), "float32"),
        (("float16", "float32"), "float32"),
        (("float8_e4m3fn", "float8_e4m3fn"), "float8_e4m3fn"),
        (("float8_e4m3fn", "bfloat16"), "float32"),
    ],
)
def test_what_a_mean_is_kept_in(tmp_path, dtypes, want):
    runs = [{"x": torch.randn(8).to(getattr(torch, dtype))} for dtype in dtypes]
    ((_, out),) = merged(Method("linear", (1.0, 1.0), 0.2), runs, None, tmp_path)
    assert out.dtype == getattr(torch, want)
    mean = (runs[0]["x"].double() + runs[1]["x"].double()) / 2
    assert out.equal(mean.to(out.dtype))
