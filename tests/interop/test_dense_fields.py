"""Fields of dense decoders' config.json as the hub has them: what a class takes where nothing is said, older spellings, what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from oracles_dense import ORACLES
from parity import Oracle, close, made, ours, theirs

import components
from components.core.errors import UserError
from components.core.makers import ScopedMaker, make
from components.core.sockets import Batch, SequenceInfo
from components.interop import convert
from components.interop.architectures._common import ORIGINAL, SCALINGS, read_rope, write_rope
from components.interop.config import architecture_of, recipe_of
from components.interop.fields import Unsupported

pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 80,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
}
BARE = {
    "LlamaForCausalLM": "LlamaConfig",
    "MistralForCausalLM": "MistralConfig",
    "GemmaForCausalLM": "GemmaConfig",
    "Gemma2ForCausalLM": "Gemma2Config",
    "Gemma3ForCausalLM": "Gemma3TextConfig",
    "Qwen2ForCausalLM": "Qwen2Config",
    "Qwen3ForCausalLM": "Qwen3Config",
    "OlmoForCausalLM": "OlmoConfig",
    "Olmo2ForCausalLM": "Olmo2Config",
    "Olmo3ForCausalLM": "Olmo3Config",
    "Phi3ForCausalLM": "Phi3Config",
    "GraniteForCausalLM": "GraniteConfig",
    "CohereForCausalLM": "CohereConfig",
}
NEEDED = {"Phi3ForCausalLM": {"pad_token_id": 0}}  # its class's own lies beyond this vocabulary
YARN = {"factor": 4.0, "original_max_position_embeddings": 16}
LONG = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0, 3.0, 4.0, 5.0]}
SU = {**LONG, "type": "su"}
WIDE = {"head_dim": 16}

# (class, fields beside the sizes) as older files have them; their config class reads the same ones
SPELLED = {
    "scaling by type": ("LlamaForCausalLM", {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4.0}}),
    "dynamic": ("LlamaForCausalLM", {"max_position_embeddings": 24, "rope_scaling": {"type": "dynamic", "factor": 2.0}}),
    "YaRN, context from the model": (
        "LlamaForCausalLM",
        {"max_position_embeddings": 16, "rope_scaling": {"rope_type": "yarn", "factor": 2.0}},
    ),
    "YaRN with mscale": (
        "LlamaForCausalLM",
        {"rope_scaling": {"rope_type": "yarn", "mscale": 1.0, "mscale_all_dim": 0.7, **YARN}},
    ),
    "YaRN, whole pairs not asked for": (
        "LlamaForCausalLM",
        {"rope_scaling": {"rope_type": "yarn", "truncate": False, "beta_fast": 8, "beta_slow": 2, **YARN}},
    ),
    "no window": ("MistralForCausalLM", {"sliding_window": None}),
    "a window, 4 wide": ("MistralForCausalLM", {"sliding_window": 4, "head_dim": None}),
    "gelu means tanh": ("GemmaForCausalLM", {**WIDE, "hidden_act": "gelu", "hidden_activation": None}),
    "a window by its old name": ("Gemma2ForCausalLM", {**WIDE, "sliding_window_size": 3, "sliding_window": 5}),
    "no caps": ("Gemma2ForCausalLM", {**WIDE, "attn_logit_softcapping": None, "final_logit_softcapping": None}),
    "bases beside one another": (
        "Gemma3ForCausalLM",
        {
            **WIDE,
            "sliding_window": 5,
            "sliding_window_pattern": 3,
            "rope_theta": 2e4,
            "rope_local_base_freq": 1e2,
            "rope_scaling": {"rope_type": "linear", "factor": 2.0},
        },
    ),
    "windows above a layer": (
        "Qwen2ForCausalLM",
        {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2, "use_mrope": False},
    ),
    "windows not asked for": (
        "Qwen3ForCausalLM",
        {**WIDE, "use_sliding_window": False, "sliding_window": 5, "max_window_layers": 2},
    ),
    "windows on all": ("Qwen2ForCausalLM", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 0}),
    "windows on none": ("Olmo3ForCausalLM", {"layer_types": ["full_attention"] * 6}),
    "one base, no full layer": ("Gemma3ForCausalLM", {**WIDE, "sliding_window": 5, "layer_types": ["sliding_attention"] * 6}),
    "clipped": ("OlmoForCausalLM", {"clip_qkv": 0.1, "tie_word_embeddings": True}),
    "YaRN on full layers": (
        "Olmo3ForCausalLM",
        {"sliding_window": 5, "rope_theta": 500000, "rope_scaling": {"rope_type": "yarn", **YARN}},
    ),
    "su": ("Phi3ForCausalLM", {"rope_scaling": {**SU, ORIGINAL: 16}, ORIGINAL: 16}),
    "yarn that is su": ("Phi3ForCausalLM", {"original_max_position_embeddings": 32, "rope_scaling": {**SU, "type": "yarn"}}),
    "a share turned": (
        "Phi3ForCausalLM",
        {
            "partial_rotary_factor": 0.75,
            "original_max_position_embeddings": 16,
            "rope_scaling": {
                "short_factor": LONG["short_factor"][:3],
                "long_factor": LONG["long_factor"][:3],
                "type": "longrope",
            },
        },
    ),
    "multipliers": ("GraniteForCausalLM", {"attention_bias": True, "mlp_bias": True, "logits_scaling": 7.0}),
    "biases, untied": ("CohereForCausalLM", {"attention_bias": True, "tie_word_embeddings": False, "rope_theta": 8e6}),
}


def agrees(cls: str, fields: dict, tmp_path) -> convert.Imported:
    """Their tiny model of these fields against ours, which reads the fields as they stand here, not as transformers saves them."""
    model = theirs(
        Oracle(cls, cls, (BARE[cls], json.loads(json.dumps(fields))))
    )  # some config classes change what they are given
    model.save_pretrained(tmp_path / "theirs")
    said = {"architectures": [cls], "model_type": model.config.model_type, **fields}
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(said), encoding="utf8")
    imported = convert.read_folder(tmp_path / "theirs")
    ids = torch.randint(5, 97, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert close(ours(imported)(Batch(ids)), model(input_ids=ids).logits) <= 1e-5
    return imported


@pytest.mark.parametrize("cls", BARE)
def test_a_field_that_is_absent_is_what_the_class_takes(cls, tmp_path):
    agrees(cls, {**SIZES, **NEEDED.get(cls, {})}, tmp_path)


@pytest.mark.parametrize("name", SPELLED)
def test_fields_as_older_files_have_them(name, tmp_path):
    import transformers

    cls, fields = SPELLED[name]
    imported = agrees(cls, {**SIZES, **NEEDED.get(cls, {}), **fields}, tmp_path)
    label = imported.architecture.label
    written = convert.write_folder(imported.config, imported.weights, 97, tmp_path / "out", prefer=label)
    assert written.label == label
    again = getattr(transformers, cls).from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
    ids = torch.randint(5, 97, (1, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert close(ours(imported)(Batch(ids)), again(input_ids=ids).logits) <= 1e-5


UNSAID = (
    "MistralForCausalLM",
    "GemmaForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
)


@pytest.mark.parametrize("cls", UNSAID)
def test_heads_of_keys_that_are_absent_are_the_class_s_own(cls):
    import transformers

    config = {"architectures": [cls], **{n: v for n, v in SIZES.items() if n != "num_key_value_heads"}}
    nodes, _ = recipe_of(architecture_of(config, "here"), config, "here")
    assert nodes["model"]["attention"]["n_kv_heads"] == getattr(transformers, BARE[cls])().num_key_value_heads


# models that nobody imported, as one writes them here: sizes left to the parts, layers named by a pattern
HALF = {"name": "rope", "layout": "half"}
SWIGLU = {"name": "glu", "activation": "silu"}
SMALL = {"name": "decoder", "d_model": 32, "n_layers": 4, "context_length": 64, "norm": "rms", "position": HALF, "ffn": SWIGLU}
WINDOW = {"mask": {"name": "sliding_window", "window": 5}}
OWN = {
    "LlamaForCausalLM": SMALL,
    "MistralForCausalLM": {**SMALL, "attention": {"name": "mqa", **WINDOW}, "ffn": {**SWIGLU, "multiple_of": 8}},
    "Qwen2ForCausalLM": {
        **SMALL,
        "attention": {"name": "gqa", "bias": ["q", "k", "v"]},
        "pattern": ["local", "wide"],
        "layers": {"local": {"attention": WINDOW}},
    },
    "Qwen3ForCausalLM": {**SMALL, "attention": {"name": "gqa", "qk_norm": "rms"}, "head": "tied"},
    "GemmaForCausalLM": {
        **SMALL,
        "norm": {"name": "rms", "unit_offset": True},
        "embedding": {"name": "token", "scale": "sqrt"},
        "ffn": {"name": "glu", "activation": "gelu_tanh"},
    },
    "GraniteForCausalLM": {
        **SMALL,
        "residual": {"name": "scaled", "scale": 0.5},
        "attention": {"name": "gqa", "scale": 0.3},
        "head": {"name": "linear", "multiplier": 0.3},
    },
    "CohereForCausalLM": {
        **SMALL,
        "position": "rope",
        "norm": {"name": "layer", "bias": False},
        "block": "parallel",
        "attention": {"name": "gqa", "qk_norm": {"name": "layer", "bias": False}, "qk_norm_over": "per_head_weight"},
    },
    "Olmo3ForCausalLM": {
        **SMALL,
        "block": "output_norm",
        "attention": {"name": "gqa", "qk_norm": "rms", "qk_norm_over": "full"},
        "pattern": ["wide", "local"],
        "layers": {"local": {"attention": WINDOW, "position": {"name": "rope", "layout": "half", "base": 500.0}}},
    },
}


@pytest.mark.parametrize("cls", OWN)
def test_a_model_of_ours_is_written_as_the_class_that_it_is(cls, tmp_path):
    import transformers

    config = convert.spelled_out({"model": OWN[cls]})
    model = make(ScopedMaker(config["model"], where="model"), "model", vocab_size=97).eval()
    assert convert.write_folder(config, model.state_dict(), 97, tmp_path / "out").label == cls
    again = getattr(transformers, cls).from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
    ids = torch.randint(5, 97, (2, 24), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert close(model(Batch(ids)), again(input_ids=ids).logits) <= 1e-5


def test_what_makes_a_model_of_ours_nobody_s_is_named(tmp_path):
    config = convert.spelled_out({"model": {**SMALL, "layers": {"2": {"ffn": {"name": "mlp", "activation": "silu"}}}}})
    model = convert.on_meta(config, 97)
    with pytest.raises(UserError, match=r"none of the known architectures; nearest is .*ForCausalLM, with model"):
        convert.write_folder(config, model.state_dict(), 97, tmp_path / "out")
    assert not (tmp_path / "out").exists()


REFUSED = {
    "partial_rotary_factor=0.5": ("LlamaForCausalLM", {"partial_rotary_factor": 0.5}),
    "attn_logit_softcapping=50.0": ("Gemma3ForCausalLM", {"attn_logit_softcapping": 50.0}),
    "use_bidirectional_attention=True": ("Gemma3ForCausalLM", {"use_bidirectional_attention": True}),
    "hidden_activation='relu'": ("GemmaForCausalLM", {"hidden_activation": "relu"}),
    "rope_type='ntk'": ("Qwen2ForCausalLM", {"rope_scaling": {"type": "ntk", "factor": 2.0}}),
    "low_freq_factor of linear": (
        "Qwen3ForCausalLM",
        {"rope_scaling": {"type": "linear", "factor": 2.0, "low_freq_factor": 1.0}},
    ),
    "chunked_attention is not known": ("Olmo3ForCausalLM", {"layer_types": ["chunked_attention"] * 6}),
    "use_sliding_window=False": ("Qwen2ForCausalLM", {"layer_types": ["sliding_attention"] * 6}),
    "truncate=False": ("Olmo3ForCausalLM", {"rope_scaling": {"rope_type": "yarn", "truncate": False, **YARN}}),
    "sliding_window=None": ("Olmo3ForCausalLM", {"sliding_window": None}),
    "qk_layernorm=True: not known": ("Phi3ForCausalLM", {"qk_layernorm": True}),
    "lm_head_bias=True": ("Phi3ForCausalLM", {"lm_head_bias": True}),
    "hidden_act='gelu'": ("GraniteForCausalLM", {"hidden_act": "gelu"}),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_would_change_the_numbers_is_refused(fault):
    cls, fields = REFUSED[fault]
    config = {"architectures": [cls], **SIZES, **fields}
    with pytest.raises(UserError, match=fault.replace("(", r"\(")):
        recipe_of(architecture_of(config, "here"), config, "here")


FULL = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0},
    "yarn": {**YARN, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False, "attention_factor": 1.2},
    "llama3": {**YARN, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "longrope": {**LONG, "original_max_position_embeddings": 16, "factor": 4.0, "attention_factor": 1.1},
    "proportional": {"partial_rotary_factor": 0.25, "factor": 2.0},
}


@pytest.mark.parametrize("kind", SCALINGS)
def test_each_scaling_comes_out_as_it_went_in(kind):
    parameters = {"rope_type": kind, "rope_theta": 5e5, **FULL[kind]}
    options = read_rope(parameters, "p")
    node = {"name": "rope", **{n.removeprefix("p."): v for n, v in options.items()}}
    assert write_rope(node) == parameters
    with pytest.raises(Unsupported, match="not known"):
        read_rope({**parameters, "mrope_section": [1, 2]})


def test_a_scaling_that_leaves_its_numbers_to_us_is_not_written():
    for name, missing in (("linear", "factor"), ("longrope", "short_factor, long_factor")):
        with pytest.raises(Unsupported, match=f"{name} without {missing}"):
            write_rope({"name": "rope", "base": 1e4, "scaling": {"name": name}})
    with pytest.raises(Unsupported, match="position alibi"):
        write_rope("alibi")


def test_a_model_that_is_several_takes_the_name_it_came_from(tmp_path):
    imported = agrees("MistralForCausalLM", {**SIZES, "sliding_window": None}, tmp_path)
    for prefer, name in (("MistralForCausalLM", "MistralForCausalLM"), (None, "LlamaForCausalLM")):
        made = convert.write_folder(imported.config, imported.weights, 97, tmp_path / name, prefer=prefer)
        assert made.label == name
        assert json.loads((tmp_path / name / "config.json").read_text())["architectures"] == [name]


@pytest.mark.parametrize("name", ["Gemma 1", "Gemma 2", "Gemma 3"])
def test_gemmas_factor_rounded_as_its_class_rounds_it_in_bf16(name, tmp_path):
    pair = made(next(o for o in ORACLES if o.name == name), tmp_path)
    ids = pair.ids()
    rounded = torch.tensor(pair.theirs.config.hidden_size**0.5).bfloat16().item()
    with torch.no_grad():
        wanted = pair.theirs.bfloat16()(input_ids=ids, output_hidden_states=True).hidden_states[0]
        for override, same in (([], False), ([f"model.embedding.scale={rounded}"], True)):
            model = components.load(tmp_path, override).model.bfloat16()
            found = model.embedding(ids, SequenceInfo.of(Batch(ids), causal=True))
            assert torch.equal(found, wanted) is same
