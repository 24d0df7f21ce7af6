"""A mapping's rules: what a contributor gets wrong is said with the tensor, the shapes, and the rule that is meant."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from components.compose import compose
from components.core.errors import UserError
from components.core.meta import on_meta
from components.interop.architecture import Architecture, Rule, architectures
from components.interop.architectures._common import stack
from components.interop.architectures._layers import layers_of
from components.interop.compare import explicit
from components.interop.config import at
from components.interop.layouts import Transposed
from components.interop.tensors import idle, steps

LLAMA = next(a for a in architectures() if a.label == "LlamaForCausalLM")


def shapes(*words: str) -> tuple[dict[str, torch.Size], dict]:
    config = explicit(compose("llama_tiny", list(words)).config)
    return {n: t.shape for n, t in on_meta(config, 300).state_dict().items()}, config


def with_rules(change) -> Architecture:
    return replace(LLAMA, tensors=[new for rule in LLAMA.tensors for new in change(rule)])


def applied(architecture: Architecture, *words: str) -> list:
    ours, config = shapes(*words)
    return steps(architecture, ours, lambda path: at(config, path))


def refused(architecture: Architecture, *words: str) -> str:
    with pytest.raises(UserError) as raised:
        applied(architecture, *words)
    return str(raised.value)


def test_a_typo_in_our_name_is_called_one():
    said = refused(with_rules(lambda r: [replace(r, ours=str(r.ours).replace("ffn.up", "ffn.upp"))]))
    assert "has no place for stack.layers.{i}.block.ffn.up.weight (layers 0_1)" in said
    assert (
        "the rule for model.layers.{i}.mlp.up_proj.{p} says stack.layers.{i}.block.ffn.upp.{p}, which matches nothing" in said
    )
    assert "did you mean stack.layers.{i}.block.ffn.up.weight?" in said


def test_a_part_that_it_lacks_is_no_typo():
    said = refused(LLAMA, "model.attention.sinks=true")
    assert "attention.sink" in said
    assert "did you mean" not in said


def test_a_rule_that_matches_nothing_is_found():
    extra = Rule("model.layers.{i}.extra.weight", stack("ffn.extra.weight"))
    more = replace(LLAMA, tensors=[*LLAMA.tensors, extra])
    assert extra in idle(more, applied(more))
    assert not [r for r in idle(LLAMA, applied(LLAMA)) if "head" not in r.ours]


def test_a_forgotten_layout_says_which_tensor_and_which_shapes():
    def fused(rule: Rule) -> list[Rule]:
        if "k_proj" in rule.theirs or "v_proj" in rule.theirs:
            return []
        if "q_proj" not in rule.theirs:
            return [rule]
        return [Rule("model.layers.{i}.self_attn.qkv.weight", tuple(stack(f"attention.{n}.weight") for n in "qkv"))]

    said = refused(with_rules(fused))
    assert said.startswith("model.layers.0.self_attn.qkv.weight: its rule names 1 of theirs, and layout Same() makes 3 of ")
    assert "stack.layers.0.block.attention.q.weight (" in said
    assert "zip" not in said
    assert "such as Rows()" in said


def test_a_matrix_the_other_way_round_is_said(tmp_path):
    from safetensors.torch import save_file

    from components.interop.files import Tensors
    from components.interop.tensors import read, write

    ours, config = shapes()
    transposed = with_rules(lambda r: [replace(r, layout=Transposed()) if "down_proj" in r.theirs else r])
    weights = {n: torch.zeros(s) for n, s in ours.items()}
    made = write(transposed, weights, lambda path: at(config, path))
    save_file({n: t.contiguous() for n, t in made.items()}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"down_proj.weight is (\d+)x(\d+), not \2x\1, which Transposed\(\) would make of it"):
        read(LLAMA, Tensors(tmp_path), ours, lambda path: at(config, path), "here")


def test_a_rule_holds_for_the_layers_that_it_names():
    """Dense layers and layers with experts may have different names for tensors that we call the same."""

    def apart(rule: Rule) -> list[Rule]:
        if ".mlp." not in rule.theirs:
            return [rule]
        wide = replace(rule, theirs=str(rule.theirs).replace(".mlp.", ".wide."))
        return [
            replace(wide, layers=lambda get: layers_of(get, "ffn", "mlp")),
            replace(rule, layers=lambda get: layers_of(get, "ffn", "glu")),
        ]

    done = applied(with_rules(apart), "model/layers/1/ffn=mlp")
    named = [n for step in done for n in step.theirs]
    assert "model.layers.1.wide.up_proj.weight" in named
    assert "model.layers.0.mlp.up_proj.weight" in named
    assert not [n for n in named if "0.wide" in n or "1.mlp" in n]
