"""What ``components new`` writes installs in a fresh environment, passes its test at once, and trains from the command line.

Beside it a plug-in that brings more than parts: a kind with a contract of its own, a recipe, a source of data, a rule of compatibility.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import warm_server

from components.cli import main, new

pytestmark = pytest.mark.usefixtures("warm_processes")

ROOT = Path(__file__).parents[2]
SMALL = [
    "model.n_layers=1",
    "model.d_model=32",
    "model.context_length=32",
    "tokenizer=byte",
    "trainer.max_steps=2",
    "paths.cache=cache",
]
OWN = ["model.attention.n_heads=2", "model.norm.eps=1e-5"]
KINDS = new.kinds()


class Environment:
    """A fresh virtual environment that sees this one's packages, so that nothing is downloaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True, timeout=120)
        self.python = folder / "env" / "bin" / "python"
        (site,) = (folder / "env" / "lib").glob("python*/site-packages")
        (site / "outside.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n{ROOT / 'src'}\n")
        self.work = folder / "work"
        self.work.mkdir()

    def run(self, *words: str, code: int = 0) -> str:
        own = {**os.environ, "PYTHONPATH": warm_server.on_path()}
        done = subprocess.run(
            [str(self.python), "-m", *words],
            capture_output=True,
            text=True,
            cwd=self.work,
            timeout=280,
            env={**own, "COMPONENTS_CACHE": str(self.folder / "cache"), "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    def install(self, *packages: Path) -> None:
        """By pip, as a user does; hatchling is taken from here."""
        words = ["--python", str(self.python), "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words, *map(str, packages)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Environment:
    """With a package of every kind that there is a template for."""
    made = Environment(tmp_path_factory.mktemp("fresh"))
    for kind in KINDS:
        made.run("components", "new", kind, f"my_{kind}")
    made.install(*(made.work / f"my_{kind}" for kind in KINDS))
    (made.work / "book.txt").write_text("".join(f"Page {i} of a small book has words in it.\n\n" for i in range(400)))
    return made


def test_they_are_listed_shown_and_completed_with_their_origin(environment):
    found = json.loads(environment.run("components", "list", "--json"))
    assert "broken" not in found
    for kind in KINDS:
        assert found[kind][f"my_{kind}"]["origin"] == f"my-{kind}"
    assert "[my-norm]" in environment.run("components", "list", "norm")
    assert "added to the mean" in environment.run("components", "show", "norm/my_norm")
    assert environment.run("components", "complete", "--", "train", "model/norm=my").split() == ["model/norm=my_norm"]


def test_their_tests_pass_at_once(environment):
    out = environment.run("pytest", "-q", "-p", "no:cacheprovider", *(f"my_{kind}/tests" for kind in KINDS))
    assert int(out.split(" passed")[0].split()[-1]) > 20 * len(KINDS), out


def test_they_train_together_from_the_command_line(environment):
    chosen = [f"model/{kind}=my_{kind}" for kind in KINDS]
    environment.run("components", "train", "data=text", "data.path=book.txt", *chosen, *OWN, *SMALL)
    (run,) = (environment.work / "runs" / "gpt_python").iterdir()
    assert json.loads((run / "summary.json").read_text())["step"] == 2
    for kind in KINDS:
        assert f"my_{kind}" in (run / "config.yaml").read_text()


def test_a_name_that_is_taken_is_refused_naming_both(environment):
    said = environment.run("components", "new", "norm", "my_norm", "--to", "elsewhere", code=2)
    assert "my-norm has a part of this name" in said
    assert "my_norm would be a second" in said
    assert not (environment.work / "elsewhere").exists()


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("nrom", "mine", "did you mean 'norm'"),
        ("tokenizer", "mine", "no template"),
        ("norm", "My-Norm", "lower-case letters"),
        ("norm", "class", "lower-case letters"),
        ("norm", "rms", "lightning-components has a part of this name (components.parts.norm.rms)"),
        ("norm", "torch", "a Python package of this name"),
        ("norm", "there", "exists already"),
    ],
)
def test_what_would_become_no_part_is_refused(kind, name, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert main(["new", kind, name]) == 2
    assert said in capsys.readouterr().err
    assert [f.name for f in tmp_path.iterdir()] == ["there"]


# a plug-in that brings a kind, a recipe, data and a rule

ANTENNA = {
    "pyproject.toml": """[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "radio-parts"
version = "1.0"

[project.entry-points.components]
radio = "radio"

[project.entry-points."components.recipes"]
radio = "radio.recipes"

[tool.hatch.build.targets.wheel]
packages = ["radio"]
""",
    "radio/__init__.py": '''"""Radio: a kind, a part that has it as a socket, a source of data."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from components import declare_kind, register
from components.corpus.document import Document
from components.core.sockets import Maker, SequenceInfo, make

declare_kind("antenna", "receives a signal: (..., D) -> (..., D)", ("d_model",))


@register("antenna", "dipole")
class Dipole(nn.Module):
    """Two poles.

    Args:
        gain: how much it amplifies.
    """

    provides = ("shortwave",)

    def __init__(self, d_model: int, *, gain: float = 2.0) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


@register("antenna", "dish")
class Dish(Dipole):
    """A dish that receives nothing but satellites, and turns signals round.

    Args:
        gain: how much it amplifies.
    """

    provides = ()

    def __init__(self, d_model: int, *, gain: float = -2.0) -> None:
        super().__init__(d_model, gain=gain)


@register("ffn", "receiver")
class Receiver(nn.Module):
    """A receiver with an antenna of one's choice.

    Args:
        antenna: what it receives by.
    """

    needs = {"antenna": ("shortwave",)}
    axes = {"out": ("d_model", "d_model")}

    def __init__(self, d_model: int, *, antenna: Maker["antenna"] = "dipole") -> None:
        super().__init__()
        self.antenna = make(antenna, "antenna", d_model=d_model)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        return self.out(torch.tanh(self.antenna(x)))


@register("data", "broadcast")
class Broadcast:
    """What is said on the radio.

    Args:
        stations: how many there are.
    """

    provides = ("text",)

    def __init__(self, *, stations: int = 300) -> None:
        self.stations, self.notes = stations, []

    def fingerprint(self) -> str:
        return f"broadcast-{self.stations}"

    def documents(self) -> Iterator[Document]:
        for i in range(self.stations):
            yield Document(f"This is station {i}, and here is the news of the hour number {i * 7}.", f"station {i}")


from radio import contract  # noqa: E402,F401
''',
    "radio/contract.py": '''"""What every antenna is held to."""

from __future__ import annotations

import torch

from components.check import Host, Violation, holds
from components.core.makers import make


@holds("keeps the sign", "antenna")
def keeps_the_sign(host: Host) -> None:
    antenna = make(host.subject.maker, "antenna", d_model=8)
    x = torch.linspace(-1, 1, 8)
    if wrong := int((antenna(x).sign() != x.sign()).sum()):
        raise Violation(f"{wrong} of 8 signals are turned round")
''',
    "radio/recipes/radio_tiny.yaml": """# A receiver that listens to broadcasts.
defaults:
  - llama_tiny
  - override /data: broadcast
  - override /model/ffn: receiver
  - _self_

data: {stations: 300}
trainer: {max_steps: 2}
""",
}


@pytest.fixture(scope="module")
def radio(environment) -> Environment:
    folder = environment.work / "radio-parts"
    for name, text in ANTENNA.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    environment.install(folder)
    return environment


def test_a_kind_of_ones_own_is_listed_and_held_to_its_own_contract(radio):
    found = json.loads(radio.run("components", "list", "--json"))
    assert set(found["antenna"]) == {"dipole", "dish"}
    assert found["recipe"]["radio_tiny"]["origin"] == "radio-parts"
    said = radio.run("components", "check", "antenna/dipole").splitlines()
    assert said == ["antenna/dipole", "  holds  keeps the sign", "1 properties, all hold"]
    own = {**os.environ, "PYTHONPATH": warm_server.on_path()}
    command = [str(radio.python), "-m", "components", "check", "antenna/dish"]
    dish = subprocess.run(
        command, capture_output=True, text=True, cwd=radio.work, env={**own, "COMPONENTS_CACHE": str(radio.folder / "cache")}
    )
    assert dish.returncode == 1
    assert "FAILS  keeps the sign: 8 of 8 signals are turned round" in dish.stdout


def test_its_part_of_our_kind_is_held_to_our_contract(radio):
    out = radio.run("components", "check", "ffn/receiver", "antenna=dipole")
    assert out.splitlines()[-1].endswith("all hold")
    assert "sees no future" in out


def test_its_rule_refuses_what_cannot_work_naming_both(radio):
    said = radio.run("components", "validate", "recipe=radio_tiny", "model.ffn.antenna=dish", code=2)
    assert "ffn/receiver needs shortwave of its antenna" in said
    assert "antenna/dish" in said
    assert "antenna parts that provide it: dipole" in said


def test_its_recipe_trains_on_its_data(radio):
    radio.run("components", "train", "recipe=radio_tiny", "paths.cache=cache")
    (run,) = (radio.work / "runs" / "radio_tiny").iterdir()
    assert json.loads((run / "summary.json").read_text())["step"] == 2


def test_a_second_plugin_with_its_name_hurts_nobody(radio):
    """Both are named in ``list``, the first goes on working, and so does what else the second has."""
    folder = radio.work / "rival-parts"
    part = (radio.work / "my_norm" / "src" / "my_norm" / "part.py").read_text()
    (folder / "rival").mkdir(parents=True)
    (folder / "rival" / "__init__.py").write_text(part)
    (folder / "pyproject.toml").write_text(
        ANTENNA["pyproject.toml"]
        .replace("radio-parts", "rival-parts")
        .replace('"radio"', '"rival"')
        .split('[project.entry-points."components.recipes"]')[0]
        + '[tool.hatch.build.targets.wheel]\npackages = ["rival"]\n'
    )
    radio.install(folder)
    found = json.loads(radio.run("components", "list", "--json"))
    (text,) = found["broken"]["rival-parts"]["errors"]
    assert "norm/my_norm: the name is taken twice, by my-norm (my_norm.part) and by rival-parts (rival)" in text
    assert found["norm"]["my_norm"]["origin"] == "my-norm"
    assert "all hold" in radio.run("components", "check", "norm/my_norm", "--only", "padding")


@pytest.mark.parametrize("kind", KINDS)
def test_every_word_of_a_template_is_filled_in(kind):
    texts = new.files(kind, "my_part")
    assert not [path for path, text in texts.items() if re.search(r"@[A-Z]+@", text)]
    assert texts["src/my_part/part.py"].startswith('"""MyPart: ')
    sentence = texts["src/my_part/part.py"].splitlines()[0].removeprefix('"""MyPart: ')
    assert sentence.endswith(".")
    assert f'description = "{sentence}"' in texts["pyproject.toml"]
