"""Gemma 3n and 4: fields that are absent, older ones and those of single layers, what is refused, and files of models that see and hear too."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
import torch
from parity import Oracle, close, ours, theirs
from safetensors.torch import load_file, save_file

from components import build
from components.compose import compose
from components.core.errors import UserError
from components.core.makers import ScopedMaker, make
from components.core.sockets import Batch
from components.functional.decode_products import decoding_form
from components.interop import convert
from components.interop.architecture import architectures
from components.interop.compare import explicit
from components.interop.config import architecture_of, recipe_of

transformers = pytest.importorskip("transformers")
SLIDING, FULL = "sliding_attention", "full_attention"
NEW, NEWER = "Gemma3nForCausalLM", "Gemma4ForCausalLM"
CONFIGS = {NEW: "Gemma3nTextConfig", NEWER: "Gemma4TextConfig"}
SIZES = {
    **{"vocab_size": 97, "hidden_size": 64, "intermediate_size": 80, "num_hidden_layers": 7, "num_attention_heads": 8},
    **{"num_key_value_heads": 4, "head_dim": 16, "max_position_embeddings": 64, "sliding_window": 5},
    **{"hidden_size_per_layer_input": 6, "vocab_size_per_layer_input": 97},
}
LENT = {"num_kv_shared_layers": 2}
GLOBAL = {"global_head_dim": 24}
ROPES = {SLIDING: {"rope_type": "default", "rope_theta": 1e3}, FULL: {"rope_type": "default", "rope_theta": 1e4}}
READ = {
    "3n, what the class has": (NEW, LENT),
    "3n, bases beside one another": (NEW, {**LENT, "rope_theta": 2e4, "rope_local_base_freq": 1e2}),
    "3n, eleven layers, the first ten sparse": (NEW, {"num_hidden_layers": 11, "num_kv_shared_layers": 5, "intermediate_size": 40}),
    "3n, all layers sparse": (NEW, {**LENT, "activation_sparsity_pattern": [0.5] * 7}),
    "3n, most layers see everything": (NEW, {**LENT, "layer_types": [SLIDING, FULL, FULL] * 2 + [FULL]}),
    "4, what the class has": (NEWER, GLOBAL),
    "4, the last layer is made to see everything": (NEWER, {**GLOBAL, "layer_types": [FULL] + [SLIDING] * 6}),
    "4, nothing but layers that see everything": (NEWER, {**GLOBAL, "layer_types": [FULL] * 7, "attention_k_eq_v": True}),
    "4, heads of keys for one kind": (NEWER, {**GLOBAL, "num_global_key_value_heads": 2, "attention_k_eq_v": True}),
    "4, heads of keys that are not read": (NEWER, {**GLOBAL, "num_global_key_value_heads": 2}),
    "4, other heads by layer": (NEWER, {"per_layer_config": {str(i): {"head_dim": 24, "num_key_value_heads": 2} for i in (5, 6)}}),
    "4, all heads alike": (NEWER, {"per_layer_config": {}}),
    "4, plain rotations": (NEWER, {**GLOBAL, "rope_parameters": ROPES}),
    "4, wide late layers": (NEWER, {**GLOBAL, "num_kv_shared_layers": 1, "use_double_wide_mlp": True, "layer_types": [SLIDING, FULL] * 3 + [FULL]}),
    "4, wide late layers without any": (NEWER, {**GLOBAL, "use_double_wide_mlp": True}),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
@torch.no_grad()
def test_fields_are_read_and_written_as_the_class_takes_them(name, tmp_path):
    cls, more = READ[name]
    fields = {**SIZES, **more}
    model = theirs(Oracle(cls, cls, (CONFIGS[cls], json.loads(json.dumps(fields)))))
    model.save_pretrained(tmp_path / "theirs")
    said = {"architectures": [cls], "model_type": model.config.model_type, **fields}
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(said), encoding="utf8")
    imported = convert.read_folder(tmp_path / "theirs")
    ids = torch.randint(5, 97, (2, 40), generator=torch.Generator().manual_seed(0))
    wanted = model(input_ids=ids).logits
    assert close(ours(imported)(Batch(ids)), wanted) <= 1e-5
    assert convert.write_folder(imported.config, imported.weights, 97, tmp_path / "out").label == cls
    again = getattr(transformers, cls).from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
    assert close(again(input_ids=ids).logits, wanted) <= 1e-5


REFUSED = {
    "rows beyond vocab_size=97 belong to no id": (NEW, {"vocab_size_per_layer_input": 98}),
    "altup_active_idx=1: only 0": (NEW, {"altup_active_idx": 1}),
    "altup_correct_scale=False: only True": (NEW, {"altup_correct_scale": False}),
    "hidden_activation='relu'": (NEW, {"hidden_activation": "relu"}),
    "num_kv_shared_layers=6: no layer before them is of full_attention": (NEW, {"num_kv_shared_layers": 6}),
    "hidden_activation='silu'": (NEWER, {"hidden_activation": "silu"}),
    "use_bidirectional_attention='all'": (NEWER, {"use_bidirectional_attention": "all"}),
    "num_kv_shared_layers=7: no layer before them": (NEWER, {"num_kv_shared_layers": 7}),
    "hidden_size of layer 3 is not known": (NEWER, {"per_layer_config": {"3": {"hidden_size": 8}}}),
    "layer 3 has heads unlike those of other layers of sliding_attention": (NEWER, {"per_layer_config": {"3": {"head_dim": 8}}}),
    "wide layers beside experts are not known": (
        NEWER,
        {**LENT, "use_double_wide_mlp": True, "enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 8},
    ),
    "partial_rotary_factor=0.5: the class turns all": (
        NEWER,
        {"rope_parameters": {**ROPES, SLIDING: {**ROPES[SLIDING], "partial_rotary_factor": 0.5}}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_what_would_change_the_numbers_is_refused(fault):
    cls, fields = REFUSED[fault]
    config = {"architectures": [cls], **SIZES, **fields}
    with pytest.raises(UserError, match=fault):
        recipe_of(architecture_of(config, "here"), config, "here")


@pytest.mark.parametrize("cls", CONFIGS)
@torch.no_grad()
def test_the_text_model_of_files_that_see_and_hear(cls, tmp_path):
    """Names as such files have them, a tower besides, and keys of layers that read those of others, which old files hold."""
    fields = {**SIZES, **LENT, "layer_types": [SLIDING, FULL] * 3 + [FULL]}
    model = theirs(Oracle(cls, cls, (CONFIGS[cls], fields)))
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = {n.replace("model.", "model.language_model.", 1): t for n, t in load_file(file).items()}
    unread = [f"model.language_model.layers.6.self_attn.{n}.weight" for n in ("k_proj", "v_proj", "k_norm")]
    unread += [f"model.{n}.weight" for n in ("vision_tower.patch", "audio_tower.conv", "embed_vision.norm", "embed_audio.norm")]
    save_file({**tensors, **{n: torch.ones(3) for n in unread}}, file)
    text = json.loads((tmp_path / "config.json").read_text())
    whole = cls.replace("CausalLM", "ConditionalGeneration")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [whole], "text_config": text, "vision_config": {}}))
    imported = convert.read_folder(tmp_path)
    assert imported.whole == whole
    assert len(imported.left) == len(unread)
    ids = torch.randint(5, 97, (2, 20), generator=torch.Generator().manual_seed(0))
    assert close(ours(imported)(Batch(ids)), model(input_ids=ids).logits) <= 1e-5


@pytest.mark.parametrize("cache", ["growing", "ring", "static", "the form of decoding"])
@pytest.mark.parametrize("cls", CONFIGS)
@torch.no_grad()
def test_cached_is_as_without(cls, cache, tmp_path):
    """Lent keys, windows, other heads where all is seen, vectors of layers: a prompt beyond the window, then one token at a time."""
    experts = (
        {"enable_moe_block": True, "num_experts": 5, "top_k_experts": 2, "moe_intermediate_size": 12} if cls == NEWER else {}
    )
    fields = {**SIZES, **LENT, **experts, "layer_types": [SLIDING, FULL] * 3 + [FULL]}
    theirs(Oracle(cls, cls, (CONFIGS[cls], fields))).save_pretrained(tmp_path)
    model = ours(convert.read_folder(tmp_path))
    ids = torch.randint(5, 97, (2, 24), generator=torch.Generator().manual_seed(0))
    valid = torch.ones_like(ids).bool()
    valid[0, :3] = False
    positions = (valid.cumsum(1) - 1).clamp(min=0)
    kept = build("cache", "growing" if " " in cache else cache)

    def step(a, b):
        return model(Batch(ids[:, a:b], valid=valid[:, a:b], positions=positions[:, a:b]), cache=kept)

    whole = model(Batch(ids, valid=valid, positions=positions))
    with decoding_form(model, "same", 99) if " " in cache else nullcontext():
        found = torch.cat([step(a, b) for a, b in ((0, 9), *((i, i + 1) for i in range(9, 24)))], 1)
    assert close(found[valid], whole[valid]) <= 1e-5


@pytest.mark.parametrize(
    ("recipe", "change", "said"),
    [
        ("known/gemma3n_e2b", ["model.stack.side_ffn.activation=silu"], "side_ffn"),
        ("known/gemma3n_e2b", ["model.layers.25.attention.sharing.lender=17"], "sharing"),
        ("known/gemma3n_e2b", ["model/stack=layers", "model/embedding=token"], "stack"),
        ("known/gemma4_e2b", ["model/block=sandwich", "model/embedding=token"], "block"),
        ("known/gemma4_e2b", ["model.layers.3.ffn.d_ff=96"], "d_ff"),
        ("known/gemma4_26b_a4b", ["model.ffn.first.activation=silu"], "activation"),
        ("known/gemma4_26b_a4b", ["model.ffn.second.expert_norm=none"], "expert_norm"),
        ("known/gemma4_26b_a4b", ["model/ffn/second=mlp"], "side_by_side where it has glu"),
        ("known/gemma4_26b_a4b", ["model/ffn/second/router=softmax_top_k"], "side_by_side where it has glu"),
        (
            "known/gemma4_31b",
            ["model.layers.every6at5.attention.mask={name: sliding_window, window: 1024}"],
            "sliding_window where it has full",
        ),
    ],
)
def test_a_model_that_the_class_cannot_be_is_not_written_as_one(recipe, change, said):
    (architecture,) = (a for a in architectures() if a.label == (NEW if "3n" in recipe else NEWER))
    vocab = 262400 if "3n" in recipe else 262144
    assert not convert.asked(architecture, explicit(compose(recipe).config), vocab)[1]
    _, differing = convert.asked(architecture, explicit(compose(recipe, change).config), vocab)
    assert any(said in d for d in differing), differing


@pytest.mark.parametrize("vectors", [False, True])
def test_a_model_of_ours_that_leaves_sizes_to_its_parts_is_written(vectors, tmp_path):
    norm = {"name": "norm", "norm": {"name": "rms", "scale": "none"}}
    half = {"name": "rope", "layout": "half", "base": 1e4}
    model = {
        **{"name": "decoder", "d_model": 32, "n_layers": 2, "context_length": 64, "norm": "rms", "position": half},
        **{"attention": {"name": "gqa", "n_heads": 4, "scale": 1.0, "qk_norm": "rms", "value": norm}, "head": "tied"},
        "embedding": {"name": "per_layer_embeddings" if vectors else "token", "scale": "sqrt"},
        "block": {"name": "scaled_sandwich", "last_ffn": "per_layer_input" if vectors else "none"},
        "ffn": {"name": "glu", "activation": "gelu_tanh"},
    }
    config = convert.spelled_out({"model": model})
    made = make(ScopedMaker(config["model"], where="model"), "model", vocab_size=97).eval()
    assert convert.write_folder(config, made.state_dict(), 97, tmp_path / "out").label == NEWER
    again = getattr(transformers, NEWER).from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
    ids = torch.randint(5, 97, (2, 24), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert close(made(Batch(ids)), again(input_ids=ids).logits) <= 1e-5
