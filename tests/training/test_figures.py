"""``callbacks.figures``: pictures of the trained model in the run's folder and in its logger, and never the loss of a run."""

from __future__ import annotations

import pytest

from components import train
from components.core.errors import UserError
from components.training.callbacks import check_callbacks

SMALL = [
    "data=text",
    "tokenizer=byte",
    "model.d_model=16",
    "model.n_layers=1",
    "model.attention.n_heads=2",
    "model.context_length=32",
    "task.batch_size=2",
    "task.samples=0",
    "trainer.max_steps=2",
]


@pytest.fixture
def words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 400)
    return [*SMALL, "data.path=text.txt", f"paths.cache={tmp_path / 'cache'}", f"paths.runs={tmp_path / 'runs'}"]


NAMES = {"attention", "lens", "stream", "predictions", "influence"}


def test_figures_are_in_the_folder(words):
    made = train("llama_tiny", [*words, "callbacks.figures={prompt: the cat}"], quiet=True)
    files = list((made.folder / "figures").glob("*.png"))
    assert {f.stem for f in files} == NAMES
    assert all(f.stat().st_size > 3000 for f in files)


def test_figures_go_to_tensorboard(words):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    made = train("llama_tiny", [*words, "callbacks.figures={prompt: the cat}", "logger=tensorboard"], quiet=True)
    found = events.EventAccumulator(str(made.folder / "tensorboard"), size_guidance={"images": 0})
    found.Reload()
    assert set(found.Tags()["images"]) == {f"figures/{n}" for n in NAMES}


def test_figures_go_to_wandb(words, monkeypatch):
    from lightning.pytorch.loggers import WandbLogger

    seen = []
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(WandbLogger, "log_image", lambda self, key, images, step=None, **more: seen.append((key, images)))  # noqa: ARG005
    made = train("llama_tiny", [*words, "callbacks.figures={prompt: the cat}", "logger=wandb"], quiet=True)
    assert {key for key, _ in seen} == {f"figures/{n}" for n in NAMES}
    assert all(image.startswith(str(made.folder)) for _, images in seen for image in images)


def test_off_by_default(words):
    made = train("llama_tiny", words, quiet=True)
    assert not (made.folder / "figures").exists()


def test_a_prompt_that_cannot_be_read_costs_nothing(words, capsys):
    made = train("llama_tiny", [*words, "callbacks.figures={prompt: 'a [MASK]'}"], quiet=True)
    assert made.figures["state"] == "finished"
    assert "nothing is drawn" in capsys.readouterr().err
    assert not (made.folder / "figures").exists()


def test_options_are_checked():
    with pytest.raises(UserError, match="promt"):
        check_callbacks({"figures": {"promt": "x"}}, logger="csv")
    with pytest.raises(UserError, match="new_tokens"):
        check_callbacks({"figures": {"new_tokens": -1}}, logger="csv")
