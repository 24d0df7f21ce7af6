"""A model that is no known architecture is refused in one line, whatever it is composed of: no mapping breaks another's export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

import pytest

from components.compose import compose
from components.core import registry
from components.core.errors import UserError
from components.core.resources import shipped
from components.interop import convert
from components.interop.architecture import Architecture, architectures
from components.interop.compare import explicit
from components.interop.config import architecture_of, at, config_of, put, recipe_of
from components.interop.convert import architecture_for, on_meta, spelled_out
from components.interop.fields import Custom
from components.interop.own import OWN
from components.interop.tensors import steps

SOCKETS = ("attention", "ffn", "norm", "position", "block", "residual", "head", "embedding", "stack", "final_norm")
KIND = {"final_norm": "norm"}
RECIPES = {"decoder": ["model=decoder"], "encoder": ["model=encoder"], "encoder_decoder": ["model=encoder_decoder"]}


def compositions() -> list[tuple[str, str]]:
    """Every part in every socket of a decoder, and every model."""
    swaps = [(f"model.{s}", n) for s in SOCKETS for n in registry.names(KIND.get(s, s))]
    return [*swaps, *(("model", n) for n in registry.names("model"))]


@pytest.mark.parametrize("position", ["none", "rope"])
def test_every_mapping_writes_any_composition_or_says_what_it_lacks(position):
    tried = 0
    for place, name in compositions():
        words = [f"{place.replace('.', '/')}={name}", *([f"model/position={position}"] if place != "model.position" else [])]
        try:
            ours = explicit(compose("llama_tiny", words).config)
        except UserError:
            continue  # no model
        tried += 1
        for architecture in architectures():
            faults: list[str] = []
            made = {**config_of(architecture, ours, faults), "vocab_size": 300}
            try:
                recipe_of(architecture, made, "export")
            except UserError as e:
                faults.append(str(e))
            if at(architecture.base, "model.name") != at(ours, "model.name"):
                continue
            assert not any("\n" in f for f in faults)
    assert tried > 60


@pytest.mark.parametrize(
    "words", [["model/attention=gated_delta_net", "model/position=none"], ["model/ffn=none"], ["model/ffn=moe"]]
)
def test_what_is_no_architecture_is_said_in_one_line(words):
    with pytest.raises(UserError, match="none of the known architectures") as refused:
        architecture_for(compose("llama_tiny", words).config, 300)
    assert "\n" not in str(refused.value)


@pytest.mark.slow  # every mapping is asked about every recipe: half a minute
def test_every_mapping_writes_any_recipe_or_says_what_it_lacks():
    folder, asked = shipped("recipes"), 0
    for file in sorted(folder.rglob("*.yaml")):
        ours = explicit(compose(file.relative_to(folder).with_suffix("").as_posix()).config)
        for architecture in architectures():
            asked += 1
            try:
                made = {**config_of(architecture, ours, []), "vocab_size": 300}
                recipe_of(architecture, made, "export")
            except UserError:
                continue
    assert asked > 10_000


RECIPES_OF_OURS = (
    "llama_tiny",
    "known/gemma3_1b",
    "known/qwen3_next_80b_a3b",
    "known/mamba_130m",
    "known/jamba_v0_1",
    "ladder/05_subwords",
)


@pytest.mark.parametrize("recipe", RECIPES_OF_OURS)
def test_our_own_layout_has_a_place_for_any_decoder(recipe):
    ours = compose(recipe).config
    made = json.loads(json.dumps({**config_of(OWN, ours), "vocab_size": 300}))
    read, used = recipe_of(architecture_of(made, "config.json"), made, "config.json")
    assert spelled_out(read)["model"] == ours["model"]
    assert used == ["composed", "vocab_size"]
    names = on_meta(ours, 300).state_dict()
    done = steps(OWN, {n: t.shape for n, t in names.items()}, lambda path: at(ours, path))
    assert {s.theirs[0] for s in done} == {f"model.{n}" for n in names}


def leaves(config: object, path: str = "") -> Iterator[str]:
    """The path of every value in a spelled-out config."""
    for name, value in config.items() if isinstance(config, dict) else ():
        yield path + name
        yield from leaves(value, f"{path}{name}.")


@pytest.mark.parametrize("recipe", ["llama_tiny", "known/t5_small", "known/bert_base"])
def test_no_value_of_any_option_breaks_the_asking(recipe, monkeypatch):
    """Parts of others may have options of any type: whatever a mapping does with them, the one that fits is found."""
    for name in ("spelled_out", "explicit"):
        monkeypatch.setattr(convert, name, lambda config: config)  # what composes is another test's
    whole = compose(recipe).config
    ours = explicit({"model": whole["model"], "vocab_size": 300})
    for path in leaves(ours["model"], "model."):
        for value in (None, {"name": "a_strangers"}, "much"):
            hostile = deepcopy(ours)
            put(hostile, path, value)
            raised = None
            try:
                architecture_for(hostile, 300)
            except Exception as e:
                raised = e
            assert raised is None or isinstance(raised, UserError) or raised.__notes__, path  # noted: all mappings were asked


def broken(label: str) -> Architecture:
    """A mapping with a fault of its own."""
    right = next(a for a in architectures() if a.label == label)
    return replace(right, names=("Broken",), fields=[Custom(("x",), lambda _: {}, lambda get: 1 + get("model.d_model") + "")])


def test_a_broken_mapping_breaks_no_others_export(monkeypatch):
    monkeypatch.setattr(convert, "architectures", lambda: [broken("LlamaForCausalLM"), *architectures()])
    config = compose("llama_tiny", ["model.position.layout=half"]).config
    assert architecture_for(config, 300)[0].label != "Broken"
    with pytest.raises(TypeError) as raised:  # where none fits, it stays a fault of ours
        architecture_for(compose("llama_tiny", ["model.attention.sinks=true"]).config, 300)
    assert "Broken was asked to write this model" in raised.value.__notes__


def test_a_fault_of_a_mapping_stays_a_fault():
    with pytest.raises(TypeError):
        config_of(broken("LlamaForCausalLM"), explicit(compose("llama_tiny").config), [])
