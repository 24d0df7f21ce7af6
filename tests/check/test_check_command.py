"""``components check`` line by line, its exit codes, ``--json``; ``components show --measure``."""

from __future__ import annotations

import json
import sys

import pytest

from components.cli import main
from components.training.unchecked import unchecked


@pytest.fixture(autouse=True)
def here(monkeypatch, request):
    monkeypatch.chdir(request.path.parent)  # where faulty_parts is


def test_what_holds_line_by_line(capsys):
    assert main(["check", "norm/rms", "eps=1e-5", "--only", "padding"]) == 0
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert first == "norm/rms in a decoder: 2 layers, width 32, 12 positions"
    assert [line.strip() for line in lines] == [
        "holds  " + w
        for w in (
            "ignores padding on the left",
            "ignores padding on the right",
            "cached with left padding equals the full pass",
        )
    ]
    assert last == "3 properties, all hold"


def test_what_does_not_with_the_measured_figure(capsys):
    assert main(["check", "faulty_parts:SeesOneAhead", "--kind", "ffn", "--only", "future"]) == 1
    _, line, last = capsys.readouterr().out.splitlines()
    assert line.startswith("  FAILS  sees no future: position 6 changes by 0.")
    assert line.endswith("when position 7 and what follows is changed")
    assert last == "1 of 1 properties do not hold"


def test_as_data(capsys):
    assert main(["check", "faulty_parts:MiscountsCells", "window=7", "--kind", "mask", "--only", "cells", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["part"], data["kind"]) == ("faulty_parts:MiscountsCells", "mask")
    (found,) = data["properties"]
    assert found["property"] == "counts the cells that it shows"
    assert not found["holds"]
    assert found["text"] == "cells(64, causal=True) is 363, and 427 are True"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["norm/rsm"], "did you mean 'rms'"),
        (["norm/rms", "esp=1"], "did you mean 'eps'"),
        (["norm/rms", "--only", "patience"], "no property has 'patience'"),
        (["faulty_parts:Norm"], "registered nowhere"),
        (["faulty_parts:Norm", "--kind", "nrom"], "did you mean 'norm'"),
        (["nowhere.to:Be"], "there is no module 'nowhere'"),
        (["decoding/greedy"], "there is no battery for a decoding"),
    ],
)
def test_a_users_mistake_is_one_line(words, said, capsys):
    assert main(["check", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_show_measures_a_part(capsys):
    assert main(["show", "ffn/mlp", "d_ff=1", "--measure"]) == 2  # options are a recipe's
    capsys.readouterr()
    assert main(["show", "ffn/mlp", "--measure", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["measured"]
    assert found["parameters"] == 2 * 32 * 4 * 32
    assert found["executed"] == found["algorithm"] == 2 * found["parameters"]
    assert main(["show", "attention/gqa", "--measure"]) == 0
    text = capsys.readouterr().out
    assert "parameters             4,096" in text
    assert "12 positions" in text


@pytest.mark.parametrize(
    ("words", "said"), [(["sampler/top_k"], "no parameters of its own"), (["recipe=gpt_python"], "--measure is for parts")]
)
def test_what_has_no_figures_says_so(words, said, capsys):
    assert main(["show", *words, "--measure"]) == 2
    assert said in capsys.readouterr().err


@pytest.fixture
def own_norm(monkeypatch, tmp_path):
    """A part of somebody else's module, which is forgotten afterwards."""
    from components.core import registry

    monkeypatch.setattr(registry, "LIVE", dict(registry.LIVE))
    monkeypatch.setattr(registry, "TARGETS", dict(registry.TARGETS))
    monkeypatch.setenv("COMPONENTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_norm.py").write_text(
        "from torch import nn\n"
        "from components import register\n"
        '@register("norm", "own")\n'
        "class Own(nn.Module):\n"
        '    """Leaves things as they are."""\n'
        "    identity = True\n"
        "    def forward(self, x, info=None):\n"
        "        return x\n"
    )
    __import__("own_norm")
    yield tmp_path / "own_norm.py"
    sys.modules.pop("own_norm")


def test_a_part_of_others_is_said_to_be_unchecked_until_it_was(own_norm, capsys):
    config = {"model": {"name": "decoder", "d_model": 8, "n_layers": 1, "norm": {"name": "own"}}}
    (line,) = unchecked(config)
    assert line == "norm/own was not checked as it stands (cache, documents, padding): components check own_norm:Own"
    assert not unchecked({"model": {**config["model"], "norm": {"name": "rms"}}})
    assert main(["check", "own_norm:Own", "--only", "padding"]) == 0
    assert unchecked(config), "a part of the properties is not all of them"
    assert main(["check", "own_norm:Own"]) == 0, capsys.readouterr().out
    assert not unchecked(config)
    own_norm.write_text(own_norm.read_text() + "# changed\n")
    assert unchecked(config) == [line]
