"""Parts that cannot work together are refused before anything is built, by rules that the parts bring along."""

from __future__ import annotations

import pytest

from components.compose import compose
from components.core.errors import UserError


def refusal(run, *overrides: str) -> str:
    with pytest.raises(UserError) as e:
        run(*overrides)
    return str(e.value)


def test_needs_are_met_by_the_part_in_scope(run) -> None:
    says = refusal(run, "net.mixer=recurrent")
    assert says.startswith(
        "net.place: place/turn needs turns of its mixer, and mixer/recurrent at net.mixer does not provide it; mixer parts that provide it: "
    )
    assert "latent, many, reader, single, windowed, writer" in says
    run("net.mixer=recurrent", "net.place=nowhere")


def test_needs_are_met_layer_by_layer(run) -> None:
    says = refusal(run, "net.layers.last.mixer=recurrent")
    assert says.startswith("net.place: place/turn needs turns of its mixer, and mixer/recurrent at net.layers.3.mixer does not")
    run("net.layers.last.mixer=recurrent", "net.layers.last.place=nowhere")
    assert "at net.mixer does not" in refusal(run, "net.mixer=recurrent", "net.place=nowhere", "net.layers.first.place=turn")
    run("net.mixer=recurrent", "net.layers.all.mixer=many")


def test_what_a_decoding_refuses(run) -> None:
    says = refusal(run, "net.mixer=recurrent", "net.place=nowhere", "drawing=alone")
    assert says.startswith(
        "drawing: drawing/alone cannot work with mixer/recurrent at net.mixer: it is not batch_independent; mixer parts that are: "
    )
    assert "recurrent" not in says.partition("; mixer parts")[2]


def test_a_reader_needs_an_earlier_writer(run) -> None:
    says = refusal(run, "net.layers.from1.mixer=reader")
    assert says.startswith(
        "net.layers.1_3.mixer: mixer/reader in layer 1 reads 'values', and no earlier layer writes it; parts that write it: mixer/writer"
    )
    run("net.layers.from1.mixer=reader", "net.layers.first.mixer=writer")
    assert "in layer 0 reads" in refusal(run, "net.layers.last.mixer=writer", "net.layers.first.mixer=reader")


def test_the_librarys_own_rules(tmp_path) -> None:
    def says(*overrides: str) -> str:
        with pytest.raises(UserError) as e:
            compose("gpt_python", list(overrides), cwd=tmp_path)
        return str(e.value)

    assert says("model=encoder").startswith(
        "loss: loss/next_token cannot work with model/encoder at model: it is not causal; model parts that are: decoder"
    )
    compose("gpt_python", ["model.head=tied", "model.position=alibi", "model=encoder_decoder"], cwd=tmp_path)
