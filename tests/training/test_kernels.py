"""Which kernels a run takes is said by the places that choose: before a run from shapes alone, and by the run after its first step."""

from __future__ import annotations

import json

import pytest

import components
from components.cli import main
from components.compose import compose
from components.core.errors import UserError
from components.functional import chosen
from components.functional.chosen import Choice, hearing
from components.training.estimate.kernels import kernels_of
from components.training.progress import Recorder

SMALL = [
    *("recipe=llama_tiny", "model.n_layers=1", "model.d_model=32", "model.attention.n_heads=2", "model.attention.n_kv_heads=1"),
    *("model.context_length=128", "task.batch_size=8", "tokenizer=byte", "data=text", "data.path=text.txt"),
    *("trainer.max_steps=2", "trainer.accelerator=cpu", "task.samples=0", "task.judged_samples=0"),
]


def taken(choices: list[Choice]) -> dict[str, str]:
    return {c.operation: c.kernel for c in choices}


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.precision=bf16-mixed", "optimizer=muon"],
        ["trainer.precision=32-true", "optimizer=adamw", "optimizer.fused=false", "model/ffn=moe"],
    ],
)
def test_what_is_told_before_a_run_is_what_it_takes(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the tree and the stone by the river. " * 400)
    real: list[Choice] = []
    before = Recorder.say_kernels

    def also_kept(self):
        real.extend(self.heard)
        before(self)

    monkeypatch.setattr(Recorder, "say_kernels", also_kept)
    components.train(None, [*SMALL, *words])
    told = kernels_of(compose(None, [*SMALL, *words]).config, 260)
    assert taken(told["training"]) == taken(real)
    assert len(real) >= 4
    said = [line for line in "".join(capsys.readouterr()).splitlines() if line.startswith("kernels: ")]
    assert len(said) == 1
    assert all(f"{operation} {kernel}" in said[0] for operation, kernel in taken(real).items())
    assert chosen.heard is None, "nobody listens after the first step"


def test_each_choice_follows_its_reason():
    config = compose(None, [*SMALL, "trainer.precision=bf16-mixed"]).config
    assert taken(kernels_of(config, 260)["training"])["attention"] == "products"
    config["trainer"]["precision"] = "32-true"
    found = kernels_of(config, 260)
    assert taken(found["training"])["attention"] == "fused"
    assert taken(found["decoding"])["decoding form"] != "int8"
    config["decoding"]["weights"] = "int8"
    config["loss"]["chunk"] = 7
    found = kernels_of(config, 260)
    assert Choice("decoding form", "int8", "decoding.weights=int8") in found["decoding"]
    assert Choice("loss", "logits of 7 rows at a time", "loss.chunk=7") in found["training"]


@pytest.mark.parametrize("recipe", ["ladder/12_variants", "ladder/13_classify", "bert_prose", "ladder/11_translation"])
def test_other_families_are_told_too_and_nothing_of_it_stays(recipe):
    """Dropout by samples keeps tables, and a fake one would break what is computed afterwards."""
    for _ in range(2):
        assert taken(kernels_of(compose(None, [f"recipe={recipe}"]).config, 260)["training"])["AdamW"] == "fused"


def test_show(capsys):
    assert main(["show", *SMALL, "--kernels", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["kernels"]
    assert {"operation", "kernel", "why"} == set(told["decoding"][0])
    assert main(["show", *SMALL, "--kernels"]) == 0
    assert "kernels, training" in capsys.readouterr().out
    assert main(["show", "norm/rms", "--kernels"]) == 2


def test_a_part_that_reads_numbers_is_named(monkeypatch):
    def reads(x, *_):
        return x * float(x.sum())

    monkeypatch.setattr("components.parts.norm.rms.rms_norm", reads)
    with pytest.raises(UserError, match="cannot be told from shapes alone"):
        kernels_of(compose(None, SMALL).config, 260)


def test_listeners_stand_inside_one_another():
    with hearing() as outer:
        chosen.tell("a", "b", "c")
        with hearing() as inner:
            chosen.tell("d", "e", "f")
        chosen.tell("a", "b", "c")
    assert outer == {Choice("a", "b", "c"): 2}
    assert inner == {Choice("d", "e", "f"): 1}
    assert chosen.heard is None
