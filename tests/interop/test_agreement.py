"""An import is compared with the class in transformers: a wrong rotation is found, with its layer and branch, and nothing is written."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import checkpoints as made
import pytest

from components.cli import main
from components.interop import agreement, architecture, config, convert
from components.interop.architectures import _held
from components.runs import importing

pytest.importorskip("transformers")
LLAMA = "LlamaForCausalLM"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return made.llama(tmp_path_factory.mktemp("sound") / "theirs")


def mistaken(monkeypatch, change, **more) -> None:
    """Llama's mapping with a fault in what all its models have, or in its rules."""
    known = architecture.architectures()
    base = deepcopy(next(a.base for a in known if a.label == LLAMA))
    change(base["model"])
    wrong = [replace(a, base=base, **more) if a.label == LLAMA else a for a in known]
    monkeypatch.setattr(config, "architectures", lambda: wrong)


def probed(folder) -> str:
    found = importing.probe(str(folder))
    assert not found.agrees
    return str(found)


def test_the_right_one_agrees(sound, tmp_path, capsys):
    assert main(["import", str(sound), "--to", str(tmp_path / "run"), "--check"]) == 0
    assert "logits differ from those of LlamaForCausalLM by " in capsys.readouterr().out
    assert main(["import", str(sound), "--probe"]) == 0
    assert "first" not in capsys.readouterr().out
    assert [f.name for f in tmp_path.iterdir()] == ["run"]


def test_a_wrong_rotation_is_refused_and_named(sound, tmp_path, capsys, monkeypatch):
    mistaken(monkeypatch, lambda model: model["position"].update(layout="interleaved"))
    assert main(["import", str(sound), "--to", str(tmp_path / "run"), "--check"]) == 2
    said = capsys.readouterr().err
    assert "logits differ from those of LlamaForCausalLM by 4" in said
    assert "of the largest, first in layer 0, attention; --probe says more" in said
    assert not list(tmp_path.iterdir())
    assert main(["import", str(sound), "--probe"]) == 1
    said = capsys.readouterr().out
    assert "first in layer 0, attention: stack.layers.0.block.attention.out (model.layers.0.self_attn.o_proj) reads" in said
    assert "rotation" in said
    assert main(["import", str(sound), "--to", str(tmp_path / "run"), "--no-check"]) == 0  # as before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"norm": {"name": "rms", "unit_offset": True}}, "layer 0, attention: stack.layers.0.block.attention_norm"),
        (
            {"embedding": {"name": "token", "scale": 2.0}},
            "layer 0, attention: stack.layers.0.block.attention_norm (model.layers.0.input_layernorm) reads",
        ),
        ({"residual": {"name": "scaled", "scale": 0.5}}, "layer 0, ffn: stack.layers.0.block.ffn_norm"),
        ({"head": {"name": "linear", "multiplier": 0.5}}, "head: head.logits"),
    ],
    ids=["norm", "embedding", "residual", "head"],
)
def test_the_probe_names_layer_and_branch(change, said, sound, monkeypatch):
    mistaken(monkeypatch, lambda model: model.update(change))
    assert f"first in {said}" in probed(sound)


def test_gate_and_up_in_each_others_place(sound, monkeypatch):
    swapped = {"ffn.gate": "ffn.up", "ffn.up": "ffn.gate"}
    rules = next(a.tensors for a in architecture.architectures() if a.label == LLAMA)
    wrong = [
        replace(r, ours=str(r.ours).replace(n, swapped[n])) if (n := ".".join(str(r.ours).split(".")[-3:-1])) in swapped else r
        for r in rules
    ]
    mistaken(monkeypatch, lambda _: None, tensors=wrong)
    said = probed(sound)
    assert "first in layer 0, ffn: stack.layers.0.block.ffn.out" in said
    assert "gate and up in each other's place" in said


def test_rules_that_match_nothing_are_reported(sound, monkeypatch):
    assert importing.probe(str(sound)).idle == ()
    rules = next(a.tensors for a in architecture.architectures() if a.label == LLAMA)
    more = (*rules, architecture.Rule("model.layers.{i}.extra.weight", "stack.layers.{i}.block.extra.weight"))
    mistaken(monkeypatch, lambda _: None, tensors=more)
    found = importing.probe(str(sound))
    assert found.agrees
    assert str(found).endswith("\nrules that match nothing in this model: model.layers.{i}.extra.weight")


def test_a_new_mapping_is_compared_unless_told_not_to(sound, monkeypatch):
    imported = convert.read_folder(sound)
    assert not agreement.wanted(imported, None)
    assert agreement.wanted(imported, True)
    monkeypatch.setattr(agreement, "HELD", ())
    assert agreement.wanted(imported, None)
    assert not agreement.wanted(imported, False)
    assert LLAMA in _held.HELD


def test_without_transformers_it_says_what_to_install(sound, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    assert main(["import", str(sound), "--to", str(tmp_path / "run"), "--check"]) == 2
    assert "pip install" in capsys.readouterr().err


def test_an_encoder_decoder_is_compared(tmp_path):
    found = importing.probe(str(made.t5(tmp_path / "theirs")))
    assert found.agrees
    assert found.label == "T5ForConditionalGeneration"


def test_files_without_a_head_are_not(tmp_path, capsys):
    assert main(["import", str(made.bert(tmp_path / "theirs")), "--probe"]) == 2
    assert "cannot be compared with its class: the files are those of a model without its head" in capsys.readouterr().err
