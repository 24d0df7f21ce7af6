"""Two processes save in shards: what they leave is used as any checkpoint is, and a disk that takes no more leaves the earlier ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

import components
from components.cli import main
from components.runs import checkpoints, run_folder
from components.runs.consolidating import consolidate

sys.path.insert(0, str(Path(__file__).parent))
import rank_server  # relaid says where it is
import relaid

SCRIPT = Path(__file__).parent / "in_shards.py"


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """Eight runs of eight steps in one launch: a quarter of a minute."""
    folder = tmp_path_factory.mktemp("sharded")
    (folder / "text.txt").write_text(relaid.TEXT)
    rank_server.launch(2, SCRIPT, str(folder), folder=folder)
    return folder


@pytest.fixture(scope="module")
def said(there):
    one, two = (json.loads((there / f"said {rank}.json").read_text()) for rank in (0, 1))
    assert one == two  # every rank ends with the same words
    return one


@pytest.fixture
def here(there, monkeypatch):
    monkeypatch.chdir(there)
    return there


def run_of(folder: Path) -> Path:
    (found,) = run_folder.all_runs(folder)
    return found


@pytest.mark.timeout(400)
def test_a_folder_of_shards_is_the_whole_checkpoint(here, said):
    assert said["plain"] == said["whole"] == "done"
    for name in ("best.ckpt", "last.ckpt", "step_3.ckpt", "step_6.ckpt"):
        shards, whole = (checkpoints.read(run_of(here / n) / "checkpoints" / name) for n in ("plain", "whole"))
        for part in ("state_dict", "optimizer_states", "lr_schedulers"):
            relaid.same_bits(shards[part], whole[part], f"{name}: {part}")
        assert list(shards["state_dict"]) == list(whole["state_dict"])
        relaid.same_bits(shards["components"]["random"], whole["components"]["random"])
    assert said["held"]["plain"] == said["held"]["whole"]
    folder = run_of(here / "plain") / "checkpoints" / "last.ckpt"
    parts = sorted(f.name for f in folder.iterdir())
    assert parts == ["part_00000.safetensors", "part_00001.safetensors", "plan.json", "rest.ckpt"]
    sizes = [(folder / p).stat().st_size for p in parts[:2]]
    assert max(sizes) < 1.2 * min(sizes), "one rank writes more than its part"


def test_a_folder_of_shards_is_read_as_a_file_is(here, capsys):
    plain, whole = (run_of(here / n) for n in ("plain", "whole"))
    texts = [
        components.load(r).generate("the", max_new_tokens=8, seed=1)
        for r in (plain, plain / "checkpoints" / "last.ckpt", whole)
    ]
    assert texts[0] == texts[1] == texts[2]
    assert components.evaluate(plain)["loss"] == components.evaluate(whole)["loss"]
    words = ["train", f"recipe={plain / 'config.yaml'}", f"init_from={plain}", "trainer.max_steps=1", "trainer.devices=1"]
    assert main([*words, "trainer.strategy=auto", "tokenizer=of_run", "paths.runs=from"]) == 0
    assert "100.0% of the numbers" in capsys.readouterr().out
    task = components.tasks.LanguageModeling.load_from_checkpoint(plain / "checkpoints" / "best.ckpt")
    relaid.same_bits(
        dict(task.model.state_dict()), checkpoints.weights_in(checkpoints.read(whole / "checkpoints" / "best.ckpt"))
    )


def test_consolidate_makes_one_file_of_it(here, capsys):
    plain = run_of(here / "plain")
    made = consolidate(str(plain))
    assert made.file == plain / "checkpoints" / "best.whole.ckpt"
    held, shards = (checkpoints.read(made.file), checkpoints.read(made.source))
    relaid.same_bits(dict(held), dict(shards))
    assert sorted(f.name for f in made.file.parent.iterdir() if ".part" in f.name or "room" in f.name) == []
    assert main(["consolidate", str(made.file), "--to", "a.safetensors"]) == 0
    assert main(["consolidate", str(plain / "checkpoints" / "last.ckpt"), "--to", "b.safetensors", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["tensors"] == len(load_file("b.safetensors"))
    assert said["step"] == 8
    relaid.same_bits(load_file("a.safetensors"), checkpoints.weights_in(shards))
    for words, what in (
        (["a.ckpt"], "no such run"),
        ([str(plain), "--to", "a.pt"], "a.ckpt or a.safetensors"),
        ([str(plain), "--to", "b.safetensors"], "is there already"),
        ([str(made.file)], "is one file already"),
        ([], "no run is named"),
    ):
        assert main(["consolidate", *words]) == 2
        assert what in capsys.readouterr().err
    resumed = components.train(
        None, [f"resume={made.file}", "trainer.devices=1", "trainer.strategy=auto", "trainer.max_steps=9"], quiet=True
    )
    assert resumed.figures["step"] == 9
    assert (plain / "checkpoints" / "last.ckpt").is_file()  # of one process again, in the place of the folder


def test_a_full_disk_is_one_line_that_names_the_rank(here, said):
    for name in ("full", "full aside"):
        assert said[name].startswith(name), said[name]
        assert "last.ckpt/part_00001.safetensors: rank 1: cannot be written (File too large); make room" in said[name]
        assert checkpoints.read(run_of(here / name) / "checkpoints" / "last.ckpt")["global_step"] == 4
        assert said["held"][name] == ["best.ckpt", "last.ckpt"], "something half written is left"
    assert "last.ckpt: rank 0: cannot be written (Not a directory)" in said["no folder"]
    assert checkpoints.read(run_of(here / "no folder") / "aside" / "last.ckpt")["global_step"] == 4


def test_training_goes_on_while_shards_are_written(said):
    order = said["order"]
    first = order.index("begins")
    assert order[:first] == [1, 2, 3, 4]
    assert order[first + 1 : order.index("ends")] == [5, 6, 7, 8], "training waited"
    assert not said["in the main thread"]
    assert said["both"].startswith("trainer.strategy.asynchronous: one file is written by one rank")
