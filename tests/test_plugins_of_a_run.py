"""A package may bring a callback, a logger and a strategy: listed, completed and checked without being imported, and used by a run."""

from __future__ import annotations

import subprocess
import sys

import pytest
import warm_server
from test_plugins import install

pytestmark = pytest.mark.usefixtures("warm_processes")

PARTS = '''"""Parts of a run."""
from __future__ import annotations

import lightning.pytorch as L
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import SingleDeviceStrategy

from components import register
from components.core.signature import Positive


@register("callback", "shout")
class Shout(L.Callback):
    """Say a word at the end.

    Args:
        word: what.
        times: how often.
    """

    needs = {"logger": ("any_figure",)}

    def __init__(self, *, word: str = "done", times: Positive = 1) -> None:
        self.said = " ".join([word] * times)

    def on_fit_end(self, trainer, pl_module):
        print(f"SHOUT {self.said} {type(trainer.strategy).__name__} {[type(x).__name__ for x in trainer.loggers]}")


@register("logger", "notebook")
class Notebook:
    """Another table of figures.

    Args:
        folder: of the run.
        called: the folder in it.
    """

    provides = ("any_figure",)

    def __init__(self, folder, *, called: str = "notes") -> None:
        self.folder, self.called = folder, called

    def begin(self):
        return CSVLogger(str(self.folder or "."), name=self.called)


@register("strategy", "alone")
class Alone(SingleDeviceStrategy):
    """One device, by a name of its own."""

    def __init__(self) -> None:
        super().__init__(device="cpu")
'''
SMALL = (
    *("recipe=llama_tiny", "data=text", "data.path=text.txt", "tokenizer=byte", "model.d_model=16", "model.n_layers=1"),
    *("model.attention.n_heads=2", "model.context_length=32", "task.batch_size=2", "task.samples=0", "trainer.max_steps=2"),
    *("paths.cache=cache", "logger=notebook", "trainer.strategy=alone"),
)


@pytest.fixture
def world(tmp_path, monkeypatch):
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setenv("PYTHONPATH", warm_server.on_path(":".join([str(site), *sys.path])))
    monkeypatch.setenv("COMPONENTS_CACHE", str(tmp_path / "parts"))
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 400)
    install(site, "loud-parts", "loud", {"__init__.py": PARTS})
    return tmp_path


def run(world, *words: str, code: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "components", *words], capture_output=True, text=True, cwd=world, timeout=200)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_a_callback_a_logger_and_a_strategy_of_another_package(world):
    assert "Say a word at the end.  [loud-parts]" in run(world, "list", "callback")
    assert "how often" in run(world, "show", "callback/shout")
    for typed, found in (
        ("callbacks.sh", "callbacks.shout="),
        ("callbacks.shout.w", "callbacks.shout.word="),
        ("logger=note", "logger=notebook"),
        ("trainer.strategy=al", "trainer.strategy=alone"),
    ):
        assert found in run(world, "complete", "--", "train", typed).split()
    out = run(world, "train", *SMALL, "callbacks.shout={word: hi, times: 2}", "logger.called=mine")
    assert "SHOUT hi hi Alone ['CSVLogger']" in out
    assert "logger: csv -> notebook" in out
    assert list(world.glob("runs/*/*/mine/*/metrics.csv"))


REFUSED = (
    (["callbacks.shout.wrod=hi"], "callbacks.shout.wrod: callback/shout has no option 'wrod'; did you mean 'word'"),
    (["callbacks.shout.times=0"], "callbacks.shout.times: 0 is out of range"),
    (
        ["callbacks.shout=true", "logger=csv"],
        "its figures have no column in metrics.csv; add logger=mlflow or logger=notebook",
    ),
    (["logger.caled=x"], "logger/notebook has no option 'caled'"),
    (["logger=notbook"], "logger: unknown logger 'notbook'; did you mean 'notebook'"),
    (["trainer.strategy={name: alone, x: 1}"], "strategy/alone has no option 'x'"),
)


def test_they_are_checked_as_ours_are(world):
    for words, says in REFUSED:
        assert says in run(world, "validate", *SMALL, *words, code=2)
