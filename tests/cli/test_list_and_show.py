"""``list`` and ``show``: what a person reads and what a program reads are the same parts."""

from __future__ import annotations

import json

import pytest

from components.cli import main
from components.cli.show import papers
from components.core import layout, registry
from components.core.docstrings import unmarked


def printed(capsys, *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


def test_json_holds_every_part(capsys):
    data = json.loads(printed(capsys, "list", "--json"))
    listed = {(kind, name) for kind, parts in data.items() if kind in registry.KINDS for name in parts}
    assert listed == set(registry.entries())
    assert len(listed) > 40
    gqa = data["attention"]["gqa"]
    assert gqa["sentence"]
    assert gqa["origin"] == "components"
    assert data["recipe"]["gpt_python"]["sentence"]


def test_text_names_every_part_with_its_sentence(capsys):
    for kind in registry.KINDS:
        out = " ".join(printed(capsys, "list", kind).split())
        for e in registry.entries(kind).values():
            assert e.name in out
            assert unmarked(e.signature.sentence).split()[0] in out
    everything = printed(capsys, "list")
    assert all(kind in everything for kind in registry.KINDS)


def test_presets_say_what_they_spell_out(capsys):
    assert "= gqa n_kv_heads=1" in " ".join(printed(capsys, "list", "attention").split())
    assert "spells out gqa n_kv_heads=1" in printed(capsys, "show", "attention/mqa")


def test_nothing_is_wider_than_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for words in (["list"], ["list", "attention"], ["show", "attention/gqa"], ["list", "recipe"]):
        lines = printed(capsys, *words).splitlines()
        assert max(map(len, (line for line in lines if not line.startswith("file")))) <= 80, words


def test_no_colour_into_a_pipe_or_under_no_color(capsys, monkeypatch):
    assert "\x1b" not in printed(capsys, "show", "attention/gqa")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert layout.coloured()
    assert "\x1b[1m" in printed(capsys, "show", "attention/gqa")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in printed(capsys, "show", "attention/gqa")


def test_show_has_everything_about_a_part(capsys):
    e = registry.entry("attention", "gqa")
    data = json.loads(printed(capsys, "show", "attention/gqa", "--json"))
    assert set(data["options"]) == set(e.signature.options)
    assert data["options"]["n_kv_heads"]["allowed"] == "int >= 1 or null"
    assert data["options"]["qk_norm"]["socket"] == "norm"
    assert data["sizes"]["d_model"]["required"] is True
    assert data["papers"]
    assert data["file"].endswith("attention/gqa.py")
    out = " ".join(printed(capsys, "show", "attention/gqa").split())
    for words in (
        *e.signature.options,
        *e.signature.sizes,
        "int >= 1 or null",
        "recipes that use it",
        e.file,
        data["papers"][0],
    ):
        assert words in out, words


def test_show_tells_which_recipes_use_a_part(capsys, tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "by_group.yaml").write_text("# A.\ndefaults:\n  - override /model/norm: layer\n")
    (tmp_path / "recipes" / "by_node.yaml").write_text("# B.\nmodel:\n  final_norm: rms\n  norm: {name: layer, eps: 0.1}\n")
    (tmp_path / "recipes" / "other.yaml").write_text("# C.\nmodel:\n  norm: rms\n")
    monkeypatch.chdir(tmp_path)
    used = json.loads(printed(capsys, "show", "norm/layer", "--json"))["recipes"]
    assert {"by_group", "by_node"} <= set(used)
    assert "other" not in used


def test_recipes_that_use_a_part_of_a_list(capsys, tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "cut.yaml").write_text("# A.\ndecoding:\n  samplers: [min_p, {name: top_p, p: 0.5}]\n")
    (tmp_path / "recipes" / "first.yaml").write_text("# B.\ndecoding: greedy\n")
    monkeypatch.chdir(tmp_path)

    def used(part: str) -> list[str]:
        return json.loads(printed(capsys, "show", part, "--json"))["recipes"]

    assert "gpt_python" in used("sampler/temperature"), "by the default of decoding/sample"
    assert used("sampler/min_p") == used("sampler/top_p") == ["cut"]
    assert not {"cut", "first"} & {*used("sampler/temperature")}


def test_every_part_can_be_shown(capsys):
    for label in sorted(e.label for e in registry.entries().values()):
        data = json.loads(printed(capsys, "show", label, "--json"))
        assert {"sentence", "options", "recipes"} <= set(data), label
        assert label in printed(capsys, "show", label)


@pytest.mark.parametrize(
    "recipe",
    [
        b"# Caf\xe9.\nseed: 1\n",
        b"# A.\ndefaults: 5\n",
        b"# A.\ndefaults: [{5: 6}, 7]\n",
        b"- 1\n",
        b"# A.\nmodel: [1, {2: 3}]\n5: 6\n",
    ],
)
def test_a_broken_recipe_breaks_no_answer(capsys, tmp_path, monkeypatch, recipe):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.yaml").write_bytes(recipe)
    monkeypatch.chdir(tmp_path)
    assert "gpt_python" in json.loads(printed(capsys, "show", "norm/layer", "--json"))["recipes"]
    assert "mine" in printed(capsys, "list", "recipe")
    assert "optimizer.lr=" in printed(capsys, "complete", "--", "train", "recipe=mine", "optimizer.")
    assert main(["validate", "recipe=mine"]) == 2
    assert "recipes/mine.yaml" in capsys.readouterr().err


def test_show_takes_the_group_as_typed_in_an_override(capsys):
    assert printed(capsys, "show", "model/attention/gqa") == printed(capsys, "show", "attention/gqa")


def test_show_a_kind_lists_it(capsys):
    assert printed(capsys, "show", "norm") == printed(capsys, "list", "norm")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "attention/gqaa"], "did you mean 'gqa'? attention parts: both_ways"),
        (["show", "atention/gqa"], "did you mean 'attention'?"),
        (["show", "gqa"], "KIND/NAME"),
        (["show", "norm/rms", "norm/layer"], "one part at a time"),
        (["show", "norm/rms", "--full"], "recipe=NAME --full"),
        (["show", "recipe=nope"], "unknown recipe 'nope'"),
        (["list", "nrm"], "did you mean 'norm'?"),
    ],
)
def test_mistakes(capsys, words, said):
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_papers_are_found_in_a_docstring():
    doc = "RMSNorm: divide.\n\nZhang & Sennrich 2019, arXiv:1910.07467\nSee https://example.org/x for more.\nPlain words."
    assert papers(doc) == ["Zhang & Sennrich 2019, arXiv:1910.07467", "See https://example.org/x for more."]


def test_table_wraps_in_its_column(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    lines = layout.table([("a", "one two three four five six seven eight nine ten"), ("long name", "x")], indent=0)
    assert lines[0].startswith("a          one two")
    assert lines[1].startswith(" " * 11)
    assert lines[-1] == "long name  x"
