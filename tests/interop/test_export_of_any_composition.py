"""A model that is no known architecture is refused in one line, whatever it is composed of: no mapping breaks another's export."""

from __future__ import annotations

from dataclasses import replace

import pytest

from components.compose import compose
from components.core import registry
from components.core.errors import UserError
from components.interop.architecture import architectures
from components.interop.compare import explicit
from components.interop.config import at, config_of, recipe_of
from components.interop.convert import architecture_for
from components.interop.fields import Custom

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


def test_a_fault_of_a_mapping_stays_a_fault():
    llama = next(a for a in architectures() if a.label == "LlamaForCausalLM")
    broken = replace(llama, fields=[Custom(("x",), lambda _: {}, lambda get: 1 + get("model.d_model") + "")])
    with pytest.raises(TypeError):
        config_of(broken, explicit(compose("llama_tiny").config), [])
