"""A new user's path, as docs/how_to/checkpoints.md tells it: import a checkpoint, generate, swap one part, fine-tune, export, load in transformers."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints as made
import pytest
import torch

import components
from components.cli import main

transformers = pytest.importorskip("transformers")
BOOK = "\n\n".join(f"The quick brown fox number {i} jumps over the lazy dog, again and again." for i in range(120))
SHORT = [
    *("data=text", "data.path=book.txt", "trainer.max_steps=6", "trainer.accelerator=cpu", "trainer.precision=32-true"),
    *("task.batch_size=4", "task.validation_every=3", "task.samples=1", "task.sample_tokens=4", "optimizer.lr=0.001"),
    *("trainer.log_every_n_steps=1", "paths.runs=runs"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return made.llama(tmp_path_factory.mktemp("hub") / "tiny-llama")


@pytest.fixture
def start(checkpoint, tmp_path, monkeypatch, capsys):
    """In a folder with a book, the checkpoint imported as runs/mine."""
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text(BOOK)
    assert main(["import", str(checkpoint), "--to", "runs/mine"]) == 0
    assert "LlamaForCausalLM: 21 tensors" in capsys.readouterr().out
    return checkpoint


def tuned(*overrides: str) -> Path:
    """Fine-tuned from runs/mine; the new run's folder."""
    before = set(Path("runs").glob("*/*/run.json"))
    assert main(["train", "recipe=runs/mine/config.yaml", "init_from=runs/mine", *SHORT, *overrides]) == 0
    (new,) = set(Path("runs").glob("*/*/run.json")) - before
    return new.parent


def logits(folder: str, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return transformers.AutoModelForCausalLM.from_pretrained(folder)(ids).logits


def test_import_generate_swap_tune_export(start, capsys):
    assert main(["generate", "runs/mine", "--prompt", "The quick", "--max-new-tokens", "6", "decoding=greedy"]) == 0
    assert capsys.readouterr().out.startswith("The quick")

    from components.explain.subject import subject_of

    assert {subject_of(name).trained for name in ("runs/mine", str(start))} == {"trained elsewhere"}

    # one part is another: the head shares the embedding's table, so its own is left
    run = tuned("model/head=tied")
    said = capsys.readouterr().out
    assert "model.head: linear -> tied" in said
    assert "20 of 20 tensors loaded, 100.0% of the numbers: embedding, stack" in said
    assert "1 in the checkpoint, not used: head" in said
    assert "its tokenizer is another one" not in said
    figures = json.loads((run / "summary.json").read_text())
    assert figures["state"] == "finished"
    assert figures["step"] == 6

    assert main(["export", str(run), "--to", "exported"]) == 0
    assert "LlamaForCausalLM" in capsys.readouterr().out
    assert json.loads(Path("exported/config.json").read_text())["tie_word_embeddings"] is True
    loaded = components.load(run, ["decoding=greedy"])
    tokenizer = transformers.AutoTokenizer.from_pretrained("exported")
    ids = tokenizer("The quick", return_tensors="pt")["input_ids"]
    assert ids[0].tolist() == [1, *loaded.tokenizer.encode("The quick")]  # <s> comes along
    with torch.no_grad():
        ours = loaded.model(ids)
    theirs = logits("exported", ids)
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    model = transformers.AutoModelForCausalLM.from_pretrained("exported")
    text = tokenizer.decode(model.generate(ids, do_sample=False, max_new_tokens=6)[0], skip_special_tokens=True)
    assert text == loaded.generate("The quick", max_new_tokens=6)


@pytest.mark.usefixtures("start")
def test_a_part_with_new_weights_starts_new_and_goes_out_under_the_name_that_it_has_then(capsys):
    run = tuned("model.attention.qk_norm=rms")
    said = capsys.readouterr().out
    assert "21 of 25 tensors loaded" in said
    assert "4 not in the checkpoint, new here" in said
    assert main(["export", str(run), "--to", "exported"]) == 0
    assert "Qwen3ForCausalLM" in capsys.readouterr().out
    ids = torch.randint(5, 90, (1, 9))
    theirs = logits("exported", ids)
    with torch.no_grad():
        assert (components.load(run).model(ids) - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.usefixtures("start")
def test_a_part_that_no_known_architecture_has_goes_out_in_our_own_layout(capsys):
    run = tuned("model.ffn.activation=relu2")
    capsys.readouterr()
    assert main(["export", str(run), "--to", "exported"]) == 0
    said = capsys.readouterr().out
    assert "relu2" in said
    assert "import components.interop.transformers" in said
    assert json.loads(Path("exported/config.json").read_text())["model_type"] == "lightning_components"
    ids = torch.randint(5, 90, (1, 9))
    home, back = components.load(run), components.load("exported")
    assert torch.equal(home.model(ids), back.model(ids))
    assert home.generate("The quick", max_new_tokens=3) == back.generate("The quick", max_new_tokens=3)


def test_fine_tuned_and_unchanged_in_shape_it_is_what_it_was(start, capsys):
    run = tuned()
    assert "21 of 21 tensors loaded" in capsys.readouterr().out
    rows = (run / "metrics.csv").read_text().splitlines()
    columns = rows[0].split(",")
    losses = [float(r.split(",")[columns.index("train_loss")]) for r in rows[1:] if r.split(",")[columns.index("train_loss")]]
    assert losses[-1] < losses[0]
    assert main(["export", str(run), "--to", "exported"]) == 0
    ids = torch.randint(5, 90, (1, 9))
    assert (logits("exported", ids) - logits(str(start), ids)).abs().max() > 1e-3
    assert main(["runs", "runs/mine", str(run)]) == 0
    assert "init_from" in capsys.readouterr().out
