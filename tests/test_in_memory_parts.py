"""A part of a script or of a notebook's cell: composed by name, checked, trained and loaded like any other, and replaced when the cell runs again."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.usefixtures("warm_processes")

CELL = '''
import torch, components
from torch import Tensor, nn

@components.register("norm", "mine")
class Mine(nn.Module):
    """Scales by the largest value."""

    axes = {"weight": ("d_model",)}

    def __init__(self, dim: int | tuple[int, int], *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x / (x.abs().amax(-1, keepdim=True) + self.eps)
'''
SMALL = [
    *("data=text", "data.path=text.txt", "tokenizer=byte", "model.d_model=16", "model.n_layers=1", "model/norm=mine"),
    *("model.attention.n_heads=2", "model.context_length=32", "task.batch_size=4", "task.samples=0", "trainer.max_steps=2"),
    "paths.cache=cache",
]
TRAIN = f"run = components.train('llama_tiny', {SMALL!r} + more, quiet=True)"
# as a notebook runs them: in a __main__ that has no file and no source
NOTEBOOK = """
import sys
main = sys.modules["__main__"]
del main.__file__
sys.ps1 = "In: "
more = []
for cell in open("cells.txt").read().split("# %%"):
    exec(cell, main.__dict__)
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 400)

    def go(*cells: str, notebook: bool = True) -> str:
        """What the cells print; the last line of a failure."""
        text = "\n# %%\n".join(map(textwrap.dedent, cells))
        (tmp_path / "cells.txt").write_text(text)
        (tmp_path / "program.py").write_text(NOTEBOOK if notebook else f"more = []\n{text}")
        done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        return done.stdout + (done.stderr.splitlines()[-1] if done.returncode else "")

    return go


@pytest.mark.parametrize("notebook", [True, False])
def test_a_cell_is_trained_checked_and_loaded(run, notebook):
    said = run(
        CELL,
        """
        report = components.check("norm/mine", only="shape")
        print("checked", report.holds, len(report.verdicts))
        print("listed", components.list_parts("norm")["mine"])
        """,
        TRAIN,
        """
        model = components.load(run.folder).model
        print("trained", type(model.stack.final_norm) is Mine, run.figures["state"])
        """,
        notebook=notebook,
    )
    assert said.splitlines()[-3:] == ["checked True 1", "listed Scales by the largest value.", "trained True finished"]


def test_a_cell_that_runs_again_replaces_its_part(run):
    """With another body, another option, another name of the class; what was built before stays what it was."""
    said = run(
        CELL,
        "before = components.build('norm', 'mine', dim=4)",
        CELL.replace("eps: float = 1e-5", "eps: float = 1e-3, power: int = 2"),
        "print(components.build('norm', 'mine', dim=4, power=3).eps, before.eps)",
        CELL.replace("class Mine", "class Renamed"),
        "print(type(components.build('norm', 'mine', dim=4)).__name__)",
    )
    assert said.splitlines() == ["0.001 1e-05", "Renamed"]


def test_a_script_that_takes_a_name_twice_is_told(run):
    said = run(CELL, CELL.replace("class Mine", "class Second"), notebook=False)
    assert "norm/mine: the name is taken twice, by __main__" in said


def test_a_check_is_of_the_part_as_it_stands(run):
    """A cell without source: the code of its methods says whether it is what was checked."""
    ask = """
        import os
        os.environ["COMPONENTS_CACHE"] = "checked here"
        from components.training.unchecked import remember, unchecked
        from components.core import registry
        ask = lambda: unchecked({"model": {"name": "decoder", "norm": {"name": "mine"}}})
        """
    said = run(
        CELL,
        ask,
        "print(ask()); remember('norm/mine', Mine); print(ask())",
        CELL,
        "print(ask())",
        CELL.replace("amax(", "amin("),
        "print(len(ask()))",
    )
    first, *rest = said.splitlines()
    assert first == """['norm/mine was not checked as it stands (cache, documents, padding): components.check("norm/mine")']"""
    assert rest == ["[]", "[]", "1"]


def test_a_run_whose_part_is_not_there_says_what_to_do(run):
    run(CELL, TRAIN)
    said = run("import components, glob; components.load(glob.glob('runs/*/*')[0])", notebook=False)
    assert (
        "saved config: model.norm: unknown norm 'mine'; no code that registers it has run here: run its cell, import its module"
        in said
    )
    said = run(CELL, "print(len(components.load(__import__('glob').glob('runs/*/*')[0]).generate('the', max_new_tokens=3)))")
    assert int(said) >= 3


def test_readers_and_ranks_of_a_notebook(run, cold_processes):  # noqa: ARG001  Lightning asks as it is imported whether somebody types
    """Readers are forked and know the cell; several processes are started from a script, and a notebook is told so in one line."""
    said = run(CELL, "more = ['task.num_workers=1']", TRAIN, "print(run.figures['state'])")
    assert said.splitlines()[-1] == "finished"
    said = run(CELL, "more = ['trainer.strategy=ddp', 'trainer.devices=2']", TRAIN)
    assert "trainer: `Trainer(strategy='ddp')` is not compatible with an interactive environment" in said.splitlines()[-1]


def test_a_mistake_is_one_line_in_a_notebook():
    """IPython asks an exception for its own traceback."""
    from components import build
    from components.core.errors import UserError

    with pytest.raises(UserError) as caught:
        build("norm", "rsm", dim=4)
    assert caught.value._render_traceback_() == [f"UnknownPart: {caught.value.line()}"]
    assert "unknown norm 'rsm'; did you mean 'rms'?" in caught.value.line()
