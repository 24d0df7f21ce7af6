"""Fields of the older decoders' config.json as the hub has them: what a class takes where nothing is said, older spellings, what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from oracles_older import sdpa
from parity import Oracle, close, ours, theirs

from components.core.errors import UserError
from components.core.makers import ScopedMaker, make
from components.core.sockets import Batch
from components.interop import convert
from components.interop.config import architecture_of, recipe_of

pytest.importorskip("transformers")

LLAMA_NAMES = {"hidden_size": 64, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4}
FALCON = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES = {
    "GPT2": {"n_embd": 64, "n_layer": 2, "n_head": 4},
    "GPTNeoX": {**LLAMA_NAMES, "max_position_embeddings": 64},
    "GPTJ": {"n_embd": 256, "n_layer": 2, "n_head": 4, "n_positions": 64},  # heads of 64, as wide as the class turns by itself
    "Phi": {**LLAMA_NAMES, "max_position_embeddings": 64},
    "Nemotron": {**LLAMA_NAMES, "num_key_value_heads": 2, "max_position_embeddings": 64},
    "Falcon": FALCON,
    "Mpt": {"d_model": 64, "n_layers": 2, "n_heads": 4},
    "Bloom": {"n_embed": 64, "n_layer": 2, "num_attention_heads": 4},
}
LINEAR = {"rope_scaling": {"type": "linear", "factor": 2.0}}
MANY = {"multi_query": False, "bias": True}
# (class, fields beside the sizes) as older files have them; their config class reads the same ones
SPELLED = {
    "scores by layer": ("GPT2", {"scale_attn_by_inverse_layer_idx": True, "n_inner": 96, "activation_function": "relu"}),
    "rotary_pct": ("GPTNeoX", {"rotary_pct": 0.5, "rotary_emb_base": 500, "tie_word_embeddings": True}),
    "rotary_pct, stretched": ("GPTNeoX", {"rotary_pct": 0.5, "rotary_emb_base": 10000, **LINEAR}),
    "one after the other": ("GPTNeoX", {"use_parallel_residual": False, "attention_bias": False, "hidden_act": "gelu_fast"}),
    "a narrow turn": ("GPTJ", {"rotary_dim": 16, "n_inner": 96, "layer_norm_epsilon": 1e-3, "tie_word_embeddings": True}),
    "a share of 0.4": ("Phi", {"partial_rotary_factor": 0.4, "rope_theta": 500.0, "num_key_value_heads": 2}),
    "all channels, tied": ("Phi", {"partial_rotary_factor": 1.0, "qk_layernorm": True, "tie_word_embeddings": True}),
    "biases": ("Nemotron", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "head_dim": 20}),
    "every head its keys": ("Falcon", {**MANY, "num_kv_heads": 4, "ffn_hidden_size": 96, "rope_theta": 500.0}),
    "one after the other, rotated": ("Falcon", {"parallel_attn": False, "activation": "relu", **LINEAR}),
    "ALiBi in parallel": ("Falcon", {"alibi": True, "num_ln_in_parallel_attn": 1, "tie_word_embeddings": False}),
    "ALiBi and groups": ("Falcon", {"alibi": True, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "keys for all": ("Falcon", {"new_decoder_architecture": True, "multi_query": True}),
    "clipped": ("Mpt", {"attn_config": {"clip_qkv": 0.2, "softmax_scale": 0.5, "attn_impl": "triton"}}),
    "untied": ("Mpt", {"tie_word_embeddings": False, "norm_type": "low_precision_layernorm", "learned_pos_emb": True}),
    "as on the hub": ("Bloom", {"seq_length": 2048, "n_inner": None, "offset_alibi": 100, "masked_softmax_fusion": True}),
    "trained in pieces": ("Bloom", {"pretraining_tp": 2, "tie_word_embeddings": False}),
}


def class_of(name: str) -> str:
    return f"{name}LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM"


def agrees(name: str, fields: dict, folder: Path) -> convert.Imported:
    """Their tiny model of these fields against ours, which reads the fields as they stand here, not as transformers saves them."""
    fields = {"vocab_size": 97, **fields}
    cls = class_of(name)
    given = json.loads(json.dumps(fields))  # some config classes change what they are given
    model = theirs(Oracle(cls, cls, (f"{name}Config", given), prepare=sdpa if fields.get("alibi") else None))
    model.save_pretrained(folder / "theirs")
    said = {"architectures": [cls], "model_type": model.config.model_type, **fields}
    (folder / "theirs" / "config.json").write_text(json.dumps(said), encoding="utf8")
    imported = convert.read_folder(folder / "theirs")
    same(ours(imported), model)
    return imported


def same(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    ids = torch.randint(5, 97, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert close(ours(Batch(ids)), theirs(input_ids=ids).logits) <= 1e-5


def loaded(cls: str, folder: Path) -> torch.nn.Module:
    import transformers

    model = getattr(transformers, cls).from_pretrained(folder, attn_implementation="eager").eval()
    if getattr(model.config, "alibi", False):
        sdpa(model)
    return model


@pytest.mark.parametrize("name", SIZES)
def test_a_field_that_is_absent_is_what_the_class_takes(name, tmp_path):
    agrees(name, SIZES[name], tmp_path)


@pytest.mark.parametrize("case", SPELLED)
def test_fields_as_older_files_have_them(case, tmp_path):
    name, fields = SPELLED[case]
    imported = agrees(name, {**SIZES[name], **fields}, tmp_path)
    label = imported.architecture.label
    assert convert.write_folder(imported.config, imported.weights, 97, tmp_path / "out", prefer=label).label == label
    same(ours(imported), loaded(label, tmp_path / "out"))


# models that nobody imported, as one writes them here: sizes left to the parts
EVERY = {"name": "gqa", "bias": ["q", "k", "v", "out"]}
SMALL = {"name": "decoder", "d_model": 32, "n_layers": 2, "context_length": 64, "norm": "layer", "attention": "gqa"}
ROUNDED = {"name": "alibi", "factor": 8**-0.5, "rounding": "bfloat16"}
OWN = {
    "GPTNeoXForCausalLM": {
        **SMALL,
        **{"position": {"name": "rope", "layout": "half"}, "block": "parallel_two_norms", "ffn": {"name": "mlp", "bias": True}},
    },
    "GPTJForCausalLM": {
        **SMALL,
        **{"position": "rope", "block": "parallel", "ffn": {"name": "mlp", "bias": True}},
        "head": {"name": "linear", "bias": True},
    },
    "PhiForCausalLM": {
        **SMALL,
        **{"position": {"name": "rope", "layout": "half"}, "block": "parallel", "ffn": {"name": "mlp", "bias": True}},
        **{"attention": {**EVERY, "qk_norm": "layer"}, "head": {"name": "linear", "bias": True}},
    },
    "FalconForCausalLM": {**SMALL, "position": ROUNDED, "attention": {"name": "mqa"}, "ffn": "mlp"},
    "MptForCausalLM": {**SMALL, "position": "alibi", "norm": {"name": "layer", "bias": False}, "head": "tied"},
    "BloomForCausalLM": {
        **SMALL,
        **{"position": "alibi", "embedding_norm": "inherit", "attention": EVERY},
        "ffn": {"name": "mlp", "bias": True, "activation": "gelu_tanh", "d_ff": 128},
    },
}


@pytest.mark.parametrize("cls", OWN)
def test_a_model_of_ours_is_written_as_the_class_that_it_is(cls, tmp_path):
    config = convert.spelled_out({"model": OWN[cls]})
    model = make(ScopedMaker(config["model"], where="model"), "model", vocab_size=97).eval()
    assert convert.write_folder(config, model.state_dict(), 97, tmp_path / "out").label == cls
    same(model, loaded(cls, tmp_path / "out"))


NOBODYS = {
    "alibi that is not rounded": ({**OWN["FalconForCausalLM"], "position": {**ROUNDED, "rounding": "none"}}, "rounding"),
    "slopes of another exponent": (
        {**OWN["MptForCausalLM"], "position": {"name": "alibi", "max_slope_exponent": 4.0}},
        "max_slope_exponent",
    ),
    "an mlp that is wider": ({**OWN["BloomForCausalLM"], "ffn": {"name": "mlp", "bias": True, "d_ff": 96}}, "d_ff|nearest"),
}


@pytest.mark.parametrize("case", NOBODYS)
def test_what_makes_a_model_of_ours_nobody_s_is_named(case, tmp_path):
    nodes, named = NOBODYS[case]
    config = convert.spelled_out({"model": nodes})
    with pytest.raises(UserError, match=named):
        convert.write_folder(config, convert.on_meta(config, 97).state_dict(), 97, tmp_path / "out")
    assert not (tmp_path / "out").exists()


REFUSED = {
    "scale_attn_weights=False": ("GPT2", {"scale_attn_weights": False}),
    "rotary_dim=None": ("GPTJ", {"rotary_dim": None}),
    "rotary_dim=80": ("GPTJ", {"rotary_dim": 80}),
    "hidden_act='gelu_10'": ("Phi", {"hidden_act": "gelu_10"}),
    "with multi_query=false its class needs 4": ("Falcon", {"multi_query": False, "num_kv_heads": 2}),
    "num_ln_in_parallel_attn=2": ("Falcon", {"num_ln_in_parallel_attn": 2}),
    "parallel_attn=False": ("Falcon", {"new_decoder_architecture": True, "parallel_attn": False}),
    "partial_rotary_factor=0.5": ("Falcon", {"partial_rotary_factor": 0.5}),
    "n_layer=2: not known": ("Falcon", {"n_layer": 2}),
    "apply_residual_connection_post_layernorm=True: only": ("Falcon", {"apply_residual_connection_post_layernorm": True}),
    "alibi=False": ("Mpt", {"attn_config": {"alibi": False}}),
    "rope_theta is not known": ("Mpt", {"attn_config": {"rope_theta": 10000}}),
    "alibi_bias_max=16": ("Mpt", {"attn_config": {"alibi_bias_max": 16}}),
    "qk_ln=True": ("Mpt", {"attn_config": {"qk_ln": True}}),
    "expansion_ratio=2": ("Mpt", {"expansion_ratio": 2}),
    "logit_scale='inv_sqrt_d_model'": ("Mpt", {"logit_scale": "inv_sqrt_d_model"}),
    "no_bias=False": ("Mpt", {"no_bias": False}),
    "slow_but_exact=True": ("Bloom", {"slow_but_exact": True}),  # its sums in pieces leave the biases out
    "num_key_value_heads is missing": ("Nemotron", {"num_key_value_heads": ...}),
    "apply_residual_connection_post_layernorm=True": ("Bloom", {"apply_residual_connection_post_layernorm": True}),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_would_change_the_numbers_is_refused(fault):
    name, fields = REFUSED[fault]
    config = {"architectures": [class_of(name)], "vocab_size": 97, **SIZES[name], **fields}
    config = {n: v for n, v in config.items() if v is not ...}
    with pytest.raises(UserError, match=re.escape(fault)):
        recipe_of(architecture_of(config, "here"), config, "here")


def test_an_older_release_s_buffers_are_left_where_they_are(tmp_path):
    """GPT-NeoX's files of 2022 have the causal mask and the frequencies of every layer."""
    from safetensors.torch import load_file, save_file

    before = agrees("GPTNeoX", SIZES["GPTNeoX"], tmp_path)
    file = tmp_path / "theirs" / "model.safetensors"
    more = {"bias": torch.ones(1, 1, 64, 64), "masked_bias": torch.tensor(-1e9), "rotary_emb.inv_freq": torch.ones(2)}
    added = {f"gpt_neox.layers.{i}.attention.{n}": t.clone() for i in range(2) for n, t in more.items()}
    save_file({**load_file(file), **added}, file)
    after = convert.read_folder(tmp_path / "theirs")
    assert before.weights.keys() == after.weights.keys()
    assert all(torch.equal(t, after.weights[n]) for n, t in before.weights.items())
