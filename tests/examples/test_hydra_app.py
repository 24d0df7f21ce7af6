"""``examples/hydra_app`` as its user runs it: plainly, with swaps, as a sweep, and with mistakes."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("warm_processes")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return Path(shutil.copytree(ROOT / "examples" / "hydra_app", tmp_path_factory.mktemp("app") / "hydra_app"))


def app(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command, environ = [sys.executable, "train.py", *words], {**os.environ, **environment}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120)


def losses(folder: Path) -> list[float]:
    (file,) = folder.rglob("metrics.csv")
    return [float(row["train_loss"]) for row in csv.DictReader(file.open()) if row["train_loss"]]


def test_it_trains_and_a_sweep_swaps_parts(folder) -> None:
    done = app(folder, "--multirun", "model/net/attention=gqa,small_mla", "model/optimizer=adamw", "data/tokenizer=char")
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^Decoder with (\w+): val_loss ([\d.]+)$", done.stdout, re.M)
    assert [name for name, _ in found] == ["gqa", "mla"]
    first, second = (losses(job) for job in sorted(f for f in folder.glob("multirun/*/*/*") if f.is_dir()))
    assert len(first) == len(second) == 30
    assert first != second
    for steps, (_, loss) in zip((first, second), found):
        assert steps[-1] < steps[0] - 0.5, "it learns"
        assert float(loss) < steps[0]


def test_it_runs_plainly(folder) -> None:
    done = app(folder, "model/net/attention=mla", "model.net.attention.kv_rank=16", "trainer.max_steps=2", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"Decoder with mla: val_loss [\d.]+\n", done.stdout[done.stdout.index("Decoder") :])
    assert len(losses(folder / "out")) == 2


MISTAKES = {
    "+model.net.attention.n_headz=2": r"model\.net\.attention\.n_headz: attention/gqa has no option 'n_headz'; did you mean 'n_heads'\?.*",
    "model.net.attention.n_heads=0": r"model\.net\.attention\.n_heads: 0 is out of range: int >= 1",
    "model.optimizer.lr=fast": r"model\.optimizer\.lr: 'fast' is not float > 0",
    "model/net/head=tied model/net/embedding=factorised": r"model\.net\.head: head/tied needs table of its embedding, .* at model\.net\.embedding .*",
    "model/net/attention=mla +model.net.attention.n_kv_heads=2": r"model\.net\.attention\.n_kv_heads: attention/mla has no option 'n_kv_heads'; .*",
    "model.net.d_model=${data.width}": r"model\.net\.d_model: Interpolation key 'data\.width' not found",
}


@pytest.mark.parametrize(("words", "said"), MISTAKES.items())
def test_a_mistake_is_one_line_and_nothing_is_trained(folder, words, said) -> None:
    done = app(folder, *words.split(), "hydra.run.dir=mistake", "hydra.output_subdir=null")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(said + "\n", done.stderr), done.stderr
    assert not list((folder / "mistake").iterdir())


def test_hydras_own_questions_are_answered_at_once(folder) -> None:
    job = app(folder, "--cfg", "job").stdout
    assert (
        "    _target_: components.build\n    _recursive_: false\n    kind: model\n    name: decoder\n    vocab_size: ???\n"
        in job
    )
    defaults = app(folder, "--info", "defaults").stdout
    assert re.search(r"model/net/attention/gqa +\| model\.net\.attention +\|", defaults)

    def completed(word: str) -> list[str]:
        return app(folder, "-sc", "query=bash", COMP_LINE=f"python train.py {word}").stdout.split()

    assert {"model/net/attention=gqa", "model/net/attention=small_mla"} <= {*completed("model/net/attention=")}
    assert {"model.net.attention.n_heads=", "model.net.attention.mask."} <= {*completed("model.net.attention.")}
    assert "model/optimizer=muon" in completed("model/optimizer=mu")
