"""What strangers stumbled over: slips of the keys, long lists, hints that hid an error. The lines are those of the terminal."""

from __future__ import annotations

import pytest

from components.cli import main

GPT = "recipe=gpt_python"


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> list[str]:
    """Lines of what went wrong, or of the answer."""
    assert main(list(words)) == code
    out, err = capsys.readouterr()
    return (err if code else out).splitlines()


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["recipie=gpt_python"], "did you mean 'recipe'?"),
        ([GPT, "optimizer.learning_rate=1"], "did you mean 'lr'?"),
        ([GPT, "adapter=lora", "adapter.r=4"], "did you mean 'rank'?"),
        (["recipe=ladder/4"], "did you mean 'ladder/04_embedding'?"),
        ([GPT, "data.batch_size=4"], "did you mean task.batch_size?"),
        ([GPT, "optimizer.lr=0.01,"], "it ends too early"),
    ],
)
def test_a_slip_is_one_short_line_with_what_was_meant(words, meant, capsys):
    (line,) = said(capsys, "train", *words)
    assert line.startswith("error: ")
    assert meant in line
    assert len(line) <= 300


def test_of_many_recipes_the_nearest_are_named(capsys):
    (line,) = said(capsys, "train", "recipe=ladder/4")
    assert line.count("ladder/") < 10
    assert line.endswith(" more")


@pytest.mark.parametrize("rung", ["13_classify", "14_instruct"])
def test_a_recipe_that_wants_a_run_gives_the_commands_that_lead_there(rung, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = said(capsys, "train", f"recipe=ladder/{rung}")[-1]
    assert "first components train" in line
    assert f", then components train recipe=ladder/{rung} init_from=RUN" in line
    assert "[...]" not in line, "a command that is cut cannot be copied"


def test_an_error_is_not_hidden_by_what_was_changed(capsys):
    (line,) = said(capsys, "train", GPT, "model/norm=layer", "model.norm.nope=1")
    assert line.startswith("error: model.norm.nope: norm/layer has no option 'nope'")


def test_lists_are_short(capsys):
    shown = said(capsys, "show", "attention/gqa", code=0)
    (used,) = [i for i, line in enumerate(shown) if line.startswith("recipes that use it")]
    names = " ".join(shown[used : used + 2])
    assert names.count(",") == 4
    assert "more (--json has all" in names
    recipes = "\n".join(said(capsys, "list", code=0))
    assert recipes.count("known/") <= 1, "by folder, not each with it"
