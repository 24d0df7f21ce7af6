"""How other libraries let a swap go wrong, each reproduced there; none of it can happen here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.compose import Composed, compose
from components.core.errors import UserError

CWD = Path(__file__).parent


def composed(*overrides: str, recipe: str = "gpt2_124m") -> Composed:
    return compose(recipe, list(overrides), cwd=CWD)


def refusal(*overrides: str) -> str:
    with pytest.raises(UserError) as e:
        composed(*overrides)
    return str(e.value)


def test_litgpt_overriding_one_field_silently_discards_the_named_model() -> None:
    """``--model_config.norm_class_name RMSNorm`` turned a 160 M model into a default of 16 layers, 4096 wide."""
    before, after = composed().config["model"], composed("model/norm=rms").config["model"]
    assert {k: v for k, v in after.items() if k != "norm"} == {k: v for k, v in before.items() if k != "norm"}
    assert after["norm"]["name"] == "rms"


def test_litgpt_divisibility_is_an_assert_without_text() -> None:
    from components import build

    with pytest.raises(ValueError, match=r"n_heads=5 does not divide d_model=64"):
        build("attention", "gqa", d_model=64, context_length=8, n_heads=5, position="none")


def test_torchtune_old_options_stay_when_a_component_is_replaced() -> None:
    attention = composed("model/attention=mha", recipe="llama_tiny").config["model"]["attention"]
    assert (attention["n_heads"], attention["n_kv_heads"]) == (4, None), "the recipe's n_kv_heads=2 was about the old part"
    assert "betas" not in composed("optimizer=sgd").config["optimizer"]


def test_torchtune_a_value_with_an_equals_sign_breaks_the_parser() -> None:
    assert composed("data=text", "data.path=a=b.txt").config["data"]["path"] == str(CWD / "a=b.txt")


def test_torchtune_only_builders_can_be_swapped_never_an_attention() -> None:
    assert composed("model/attention=sliding_window").difference[0] == "model.attention: gqa -> sliding_window"


def test_torchtitan_keeps_the_model_off_the_command_line() -> None:
    assert composed("model.n_layers=4").difference == ["model.n_layers: 12 -> 4"]


def test_olmo_accepts_and_ignores_type() -> None:
    assert "attention/gqa has no option 'type'" in refusal("model.attention.type=mla")
    assert "attention/gqa has no option '_CLASS_'" in refusal("model.attention._CLASS_=x.MLA")


def test_olmo_a_typo_in_a_path_is_a_bare_key_error() -> None:
    assert "did you mean 'attention'" in refusal("model.attenton.n_heads=4")


def test_fairseq2_and_fast_llm_name_no_alternatives() -> None:
    assert refusal("model/norm=layr") == "model.norm: unknown norm 'layr'; did you mean 'layer'? norm parts: " + ", ".join(
        _names("norm")
    )


def test_modalities_has_no_overrides_and_llm_foundry_repairs_silently() -> None:
    """There ``alibi`` switches learned positions off with a warning; here a model has one position, and the run says what changed."""
    assert composed("model/position=alibi").difference == ["model.position: learned -> alibi"]


@pytest.mark.parametrize("typed", ["+model.foo=1", "++model.foo=1", "model.foo=1"])
def test_nemo_and_xformers_accept_unknown_keys(typed: str) -> None:
    assert "model/decoder has no option 'foo'" in refusal(typed)


def test_x_transformers_takes_options_that_exclude_each_other() -> None:
    """Two QK-norms, two activations, two positions: a socket holds one part, so the later choice is the choice."""
    config = composed("model.attention.qk_norm=rms", "model.attention.qk_norm=layer").config
    assert config["model"]["attention"]["qk_norm"]["name"] == "layer"


def test_lightning_hydra_template_turns_a_node_into_a_string_or_keeps_stale_keys() -> None:
    assert "unknown optimizer 'torch.optim.SGD'" in refusal("optimizer=torch.optim.SGD")
    assert "names code, and a config is data" in refusal("optimizer._target_=torch.optim.SGD")
    assert composed("optimizer=sgd", "optimizer.momentum=0.5").config["optimizer"]["momentum"] == 0.5


def test_hydra_zen_lists_no_valid_keys_and_takes_any_number() -> None:
    said = refusal("model/norm=layer", "model.norm.epsilon=1")
    assert said.endswith("options of norm/layer: " + ", ".join(_options("norm", "layer")))
    assert "append" not in said, "Hydra's advice to append the key is wrong here"
    assert "-5 is out of range: int >= 1" in refusal("model.attention.n_heads=-5")
    assert "'abc' is not int >= 1" in refusal("model.attention.n_heads=abc")


@pytest.mark.parametrize("group", ["model", "model/norm", "tokenizer", "trainer", "logger"])
def test_hydra_answers_group_null_with_a_traceback(group: str) -> None:
    assert "null is no" in refusal(f"{group}=null")


def _names(kind: str) -> list[str]:
    from components.core import registry

    return registry.names(kind)


def _options(kind: str, name: str) -> list[Any]:
    from components.core import registry

    return sorted(registry.entry(kind, name).signature.options)
