"""init_from=: what is loaded, what is new, what is left; whose tokens; which weights then learn. As a user types it, in one run's length."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch

import components
from components.cli import dispatch, main
from components.core.errors import UserError
from components.corpus.tokens import read_tokenizer
from components.runs.checkpoints import read, weights_in
from components.runs.init_from import Start, match

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from tiny_recipe import write

CLASSIFIER = """# Tiny classifier: for tests.
defaults:
  - ./tiny.yaml
  - override /data: labelled_text
  - override /task: classification
  - override /loss: classification
  - override /model/head: classification
  - _self_
model: {head: {n_classes: 2, pooling: mean}}
data: {path: ./labelled.csv}
task: {batch_size: 8, validation_every: 5, validation_fraction: 0.2}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("starting")
    with pytest.MonkeyPatch.context() as patch:
        write(folder, patch)
        rows = [
            f"the {w} number {i} is here,{label}" for i in range(20) for w, label in (("tree", "plant"), ("stone", "thing"))
        ]
        Path("labelled.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
        Path("tiny_classifier.yaml").write_text(CLASSIFIER)
        yield folder


@pytest.fixture(autouse=True)
def _here(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def base(folder):
    """A language model with tokens of its own making."""
    run = components.train("./tiny.yaml", ["tokenizer=char", "trainer.max_steps=5"], quiet=True).folder
    return folder / run


def weights(run: Path) -> dict[str, torch.Tensor]:
    return weights_in(read(run / "checkpoints" / "last.ckpt"))


def test_a_classifier_from_a_language_model(base, capsys):
    """The body comes by name, the head is new; frozen, the body stays bit for bit, also after a pause."""
    words = ["train", "recipe=./tiny_classifier.yaml", f"init_from={base}", "tokenizer=of_run", "tuning=frozen"]
    assert main([*words, "trainer.max_steps=4"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"tensors loaded, 9\d\.\d% of the numbers: embedding, stack\n", said)
    assert "  1 not in the checkpoint, new here: head.logits.bias\n" in said
    assert re.search(r"  1 of another shape, new here: head\.logits\.weight \(\d+, 16\) there, \(2, 16\) here\n", said)
    assert "parameters (34 of them trained)" in said
    assert "frozen: embedding, stack\n" in said
    (run,) = Path("runs").glob("tiny_classifier/*")
    about = json.loads((run / "run.json").read_text())["weights"]
    assert about["loaded"] == ["embedding", "stack"]
    assert about["tensors"] - about["tensors_loaded"] == 2
    first, best = weights(run), weights_in(read(base / "checkpoints" / "best.ckpt"))
    body = [n for n in first if not n.startswith("head.")]
    assert len(body) == about["tensors_loaded"]
    assert all(torch.equal(first[n], best[n]) for n in body)
    assert main(["train", f"resume={run}", "trainer.max_steps=8"]) == 0
    assert "tensors loaded" not in capsys.readouterr().out
    second = weights(run)
    assert all(torch.equal(second[n], best[n]) for n in body)
    assert not torch.equal(second["head.logits.weight"], first["head.logits.weight"])
    kept, own = (read_tokenizer(f / "tokenizer.json") for f in (run, base))
    assert kept.core.to_str() == own.core.to_str()
    assert kept.labels == ("plant", "thing")
    assert own.labels == ()
    # what the run has learned on top of is not needed any more
    assert components.load(run).tokenizer.vocab_size == own.vocab_size


def test_from_scratch_with_the_same_tokens_and_both_in_one_table(base, capsys):
    tuned, scratch = (
        components.train("./tiny_classifier.yaml", ["tokenizer=of_run", "trainer.max_steps=5", *words], quiet=True).folder
        for words in ([f"init_from={base}", "tuning=layer_decay"], [f"tokenizer.run={base}"])
    )
    assert (tuned / "tokenizer.json").read_bytes() == (scratch / "tokenizer.json").read_bytes()
    assert json.loads((scratch / "run.json").read_text())["weights"] is None
    capsys.readouterr()
    assert main(["runs", str(tuned), str(scratch)]) == 0
    said = capsys.readouterr().out
    for row in ("init_from", "tuning.name", "val_loss", "val_accuracy", "val_f1"):
        assert re.search(rf"(?m)^\s*{row}\s", said), row


def test_what_is_new_is_not_frozen(base, capsys):
    """A head that nothing was loaded into would give random answers for ever beside an adapter; nothing is written."""
    words = ["train", "recipe=./tiny_classifier.yaml", f"init_from={base}", "tokenizer=of_run", "trainer.max_steps=4"]
    before = len(list(Path("runs").glob("*/*")))
    for chosen, where, instead in (
        (["adapter=lora", "adapter.rank=2"], "adapter: head: not in ", "let it learn: adapter.train=[head]"),
        (["adapter=ia3", "adapter.train=['*norm*']"], "adapter: head: not in ", "let it learn: adapter.train=[*norm*, head]"),
        (
            ["tuning=frozen", "tuning.but=[stack.layers.0]"],
            "tuning: head: not in ",
            "let it learn: tuning.but=[stack.layers.0, head]",
        ),
    ):
        assert main([*words, *chosen]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert where in said, said
        assert "frozen here, so they would stay as drawn" in said, said
        assert said.endswith(instead), said
    # what is new in many layers is one pattern, and following what is said is enough
    normed = [*words, "adapter=lora", "adapter.rank=2", "model.n_layers=2", "model.attention.qk_norm=rms"]
    with pytest.raises(UserError) as refused:  # whole; a terminal's line is cut to 300 characters
        dispatch(normed)
    option = re.search(r"let it learn: (adapter\.train=\[.*\])$", str(refused.value))
    assert option
    assert "stack.layers.*" in option[1]
    assert main([*normed, option[1]]) == 0
    before += 1
    # a table of other tokens is as new as the head
    other = [
        "train",
        "recipe=./tiny_classifier.yaml",
        f"init_from={base}",
        "tokenizer=byte",
        "tuning=layer_decay",
        "tuning.decay=0",
    ]
    assert main(other) == 2
    assert "embedding: not in " in (said := capsys.readouterr().err)
    assert said.strip().endswith("choose another tuning")
    assert len(list(Path("runs").glob("*/*"))) == before
    assert main([*words, "adapter=lora", "adapter.rank=2", "adapter.train=[head]"]) == 0
    assert "stays as it was drawn" not in capsys.readouterr().out
    run = max(Path("runs").glob("tiny_classifier/*"), key=lambda f: f.stat().st_mtime)
    best = weights_in(read(base / "checkpoints" / "best.ckpt"))
    moved = {n for n, v in weights(run).items() if n not in best or v.shape != best[n].shape or not torch.equal(v, best[n])}
    assert {n.rpartition(".")[2] for n in moved if not n.startswith("head.")} == {"lora_a", "lora_b"}
    assert main(["train", "recipe=./tiny.yaml", "adapter=lora", "adapter.rank=2", "trainer.max_steps=1"]) == 0
    assert "what is frozen stays as it was drawn: init_from=RUN" in capsys.readouterr().out


def test_other_tokens_are_refused_or_said(base, capsys):
    """Ids that mean something else are an error where their vectors would be loaded, and told where these begin anew."""
    Path("other.txt").write_text(Path("text.txt").read_text().replace("b", "z"))  # as many tokens, and one is another
    other = ["data.path=other.txt", "tokenizer=char", f"init_from={base}"]
    with pytest.raises(UserError, match=r"its ids mean other tokens.*embedding\.table\.weight.*tokenizer=of_run"):
        components.train("./tiny.yaml", other, quiet=True)
    before = len(list(Path("runs").glob("*/*")))
    assert main(["train", "recipe=./tiny_classifier.yaml", f"init_from={base}", "tokenizer=byte", "trainer.max_steps=1"]) == 0
    said = capsys.readouterr().out
    assert "its tokenizer is another one, of another size" in said
    assert re.search(r"2 of another shape, new here: embedding\.table\.weight \(\d+, 16\) there, \(\d+, 16\) here, head", said)
    assert len(list(Path("runs").glob("*/*"))) == before + 1
    with pytest.raises(UserError, match="no run is named"):
        components.train("./tiny_classifier.yaml", ["tokenizer=of_run"], quiet=True)
    with pytest.raises(UserError, match="no such run"):
        components.train("./tiny_classifier.yaml", ["tokenizer=of_run", "tokenizer.run=nowhere"], quiet=True)
    assert main(["validate", "recipe=./tiny_classifier.yaml", "tokenizer=of_run"]) == 0
    assert "assumed; that of the run" in capsys.readouterr().out


def test_labels_and_a_chat_template_are_no_tokens(base, capsys):
    """A classifier goes on from a classifier; its labels are the data's, and a template beside the tokens changes nothing."""
    first = components.train(
        "./tiny_classifier.yaml", [f"init_from={base}", "tokenizer=of_run", "trainer.max_steps=1"], quiet=True
    ).folder
    (first / "tokenizer.json").with_name("chat_template.jinja").write_text("{{ messages }}")
    again = components.train("./tiny.yaml", [f"init_from={first}", "tokenizer=char", "trainer.max_steps=1"], quiet=True).folder
    assert json.loads((again / "run.json").read_text())["weights"]["loaded"] == ["embedding", "stack"]
    Path("relabelled.csv").write_text(Path("labelled.csv").read_text().replace(",plant", ",water"))
    words = ["data.path=relabelled.csv", f"init_from={first}", "tokenizer=of_run", "trainer.max_steps=1"]
    other = components.train("./tiny_classifier.yaml", words).folder
    assert "its labels are others" in capsys.readouterr().out
    assert read_tokenizer(other / "tokenizer.json").labels == ("thing", "water")


def test_early_stopping_watches_what_the_task_measures():
    """Accuracy is better when it is more: a run that reaches it stops, and nothing else is watched by mistake."""
    stopping = "callbacks.early_stopping={monitor: val_accuracy, stopping_threshold: 0.3, patience: 100}"
    made = components.train("./tiny_classifier.yaml", [stopping, "task.validation_every=1", "trainer.max_steps=9"], quiet=True)
    assert made.figures["val_accuracy"] >= 0.3
    assert made.figures["step"] < 9
    with pytest.raises(UserError, match=r"monitor: 'val_acuracy' is not measured; did you mean 'val_accuracy'"):
        components.train("./tiny_classifier.yaml", ["callbacks.early_stopping={monitor: val_acuracy}"], quiet=True)


def test_what_matches_is_found_by_name_and_shape():
    model = components.build("model", "decoder", vocab_size=20, d_model=16, n_layers=3, context_length=8)
    state = {n: v.clone() for n, v in model.state_dict().items()}
    state["stack.layers.1.block.ffn.out.weight"] = torch.zeros(3, 3)
    del state["stack.final_norm.weight"]
    state["extra.weight"] = torch.zeros(2)
    found = match(model, Start(state, "there", {}))
    assert (found.new, found.left) == (["stack.final_norm.weight"], ["extra.weight"])
    assert found.reshaped == {
        "stack.layers.1.block.ffn.out.weight": ((3, 3), tuple(model.stack.layers[1].block.ffn.out.weight.shape))
    }
    assert found.lines()[0].startswith(
        "init_from there: 25 of 27 tensors loaded, 89.6% of the numbers: embedding, stack.layers.0, "
    )
    with pytest.raises(UserError, match="no weight of there fits"):
        match(model, Start({"extra.weight": torch.zeros(2)}, "there", {}))
