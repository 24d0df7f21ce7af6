"""Fields of mixtures of experts and hybrids as the hub has them: what a class takes where nothing is said, what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from parity import Oracle, close, ours, theirs
from safetensors.torch import load_file, save_file

from components.core.errors import UserError
from components.core.makers import ScopedMaker, make
from components.core.sockets import Batch
from components.interop import convert
from components.interop.config import architecture_of, recipe_of

pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 40,
    "num_hidden_layers": 5,
    "num_attention_heads": 8,
    "max_position_embeddings": 64,
}
LATENT = {
    "n_routed_experts": 16,
    "num_experts_per_tok": 3,
    "n_shared_experts": 1,
    "moe_intermediate_size": 12,
    "routed_scaling_factor": 1.5,
}
QWEN = {"num_experts": 12, "num_experts_per_tok": 3, "moe_intermediate_size": 12}
YARN = {"type": "yarn", "factor": 4, "beta_fast": 8, "beta_slow": 1, "original_max_position_embeddings": 16}
OSS = {"num_local_experts": 6, "rope_scaling": {**YARN, "truncate": False}}
KIMI = {
    "num_experts": 16,
    "num_shared_experts": 1,
    "moe_intermediate_size": 12,
    "num_key_value_heads": 8,
    "model_max_length": 64,
    "pad_token_id": 0,  # the class's own is no token of so few
}
GLM = {  # what makes it GLM-5 of DeepSeek-V3.2, which can hold the same model and is written for it
    **LATENT,
    "num_key_value_heads": 8,
    **{"index_topk": 6, "index_n_heads": 16, "index_topk_freq": 1},
    **{"rope_interleave": True, "indexer_rope_interleave": True},
}
HYBRID = {
    "num_local_experts": 4,
    "mamba_n_heads": 8,
    "layer_types": ["mamba", "attention", "mamba", "mamba", "mamba"],
    "mamba_d_state": 8,
}
BARE = {  # what their class cannot do without at this size
    "MixtralForCausalLM": ("MixtralConfig", {"num_local_experts": 8}),
    "Qwen3MoeForCausalLM": ("Qwen3MoeConfig", QWEN),
    "Qwen3NextForCausalLM": ("Qwen3NextConfig", {**QWEN, "shared_expert_intermediate_size": 20}),
    "DeepseekV2ForCausalLM": ("DeepseekV2Config", LATENT),
    "DeepseekV3ForCausalLM": ("DeepseekV3Config", {**LATENT, "num_key_value_heads": 8}),
    "GptOssForCausalLM": ("GptOssConfig", OSS),
    "GraniteMoeForCausalLM": ("GraniteMoeConfig", {"num_local_experts": 8}),
    "GraniteMoeHybridForCausalLM": ("GraniteMoeHybridConfig", HYBRID),
    "Llama4ForCausalLM": ("Llama4TextConfig", {"num_local_experts": 16}),
    "KimiLinearForCausalLM": ("KimiLinearConfig", KIMI),
    "DeepseekV32ForCausalLM": ("DeepseekV32Config", {**LATENT, "num_key_value_heads": 8}),
    "GlmMoeDsaForCausalLM": ("GlmMoeDsaConfig", GLM),
    "Qwen3_5MoeForCausalLM": ("Qwen3_5MoeTextConfig", {**QWEN, "shared_expert_intermediate_size": 20}),
}
# (class, fields beside the sizes) as the hub's files have them
SPELLED = {
    "a window": ("MixtralForCausalLM", {"sliding_window": 6, "rope_theta": 1e6}),
    "every second layer has experts": ("Qwen3MoeForCausalLM", {"decoder_sparse_step": 2, "norm_topk_prob": True}),
    "some layers have none": (
        "Qwen3MoeForCausalLM",
        {"mlp_only_layers": [0, 3], "sliding_window": None, "max_window_layers": 5},
    ),
    "attention in every second layer": (
        "Qwen3NextForCausalLM",
        {"full_attention_interval": 2, "partial_rotary_factor": 0.5, "mlp_only_layers": [2]},
    ),
    "V3 as published": (
        "DeepseekV3ForCausalLM",
        {
            "topk_method": "noaux_tc",
            "scoring_func": "sigmoid",
            "moe_layer_freq": 1,
            "num_nextn_predict_layers": 1,
            "rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0},
        },
    ),
    "Kimi as published": (
        "KimiLinearForCausalLM",
        {
            "first_k_dense_replace": 2,
            "linear_attn_config": {
                "full_attn_layers": [2, 5],
                "kda_layers": [1, 3, 4],
                "head_dim": 6,
                "num_heads": 3,
                "short_conv_kernel_size": 3,
            },
            "moe_layer_freq": 1,
            "use_grouped_topk": True,
        },
    ),
    "V3.2 as published": (
        "DeepseekV32ForCausalLM",
        {
            "index_topk": 6,
            "index_n_heads": 16,
            "moe_layer_freq": 1,
            "rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0},
        },
    ),
    "positions on three axes": (
        "Qwen3_5MoeForCausalLM",
        {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [11, 11, 10],
                "mrope_interleaved": True,
            }
        },
    ),
    "V2 limited to groups": (
        "DeepseekV2ForCausalLM",
        {"n_group": 4, "topk_group": 2, "topk_method": "group_limited_greedy", "first_k_dense_replace": 2, "q_lora_rank": None},
    ),
    "gpt-oss as published": ("GptOssForCausalLM", {"initial_context_length": 16, "experts_per_token": 4, "sliding_window": 6}),
    "tied": ("GraniteMoeForCausalLM", {"tie_word_embeddings": True, "logits_scaling": 49.0}),
    "no position": ("GraniteMoeHybridForCausalLM", {"position_embedding_type": "nope", "mamba_n_groups": 2}),
    "biases": ("GraniteMoeHybridForCausalLM", {"mamba_proj_bias": True, "attention_bias": True}),
    "no experts": ("GraniteMoeHybridForCausalLM", {"num_local_experts": 0, "position_embedding_type": "rope"}),
    "rotated here and there": (
        "Llama4ForCausalLM",
        {"no_rope_layers": [1, 0, 0, 1, 1], "floor_scale": 16, "attention_chunk_size": 12},
    ),
    "no chunks": (
        "Llama4ForCausalLM",
        {"layer_types": ["full_attention"] * 5, "moe_layers": [1, 4], "intermediate_size_mlp": 24},
    ),
    "chunks here and there": (
        "Llama4ForCausalLM",
        {"layer_types": ["full_attention", "chunked_attention"] * 2 + ["chunked_attention"], "attention_chunk_size": 12},
    ),
}


def agrees(cls: str, fields: dict, folder) -> convert.Imported:
    """Their tiny model of these fields against ours, which reads the fields as they stand here, not as transformers saves them."""
    name, needed = BARE[cls]
    fields = {**SIZES, **needed, **fields}
    model = theirs(Oracle(cls, cls, (name, json.loads(json.dumps(fields)))))
    model.save_pretrained(folder)
    said = {"architectures": [cls], "model_type": model.config.model_type, **fields}
    (folder / "config.json").write_text(json.dumps(said), encoding="utf8")
    imported = convert.read_folder(folder)
    ids = torch.randint(5, 97, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert close(ours(imported)(Batch(ids)), model(input_ids=ids).logits) <= 1e-5
    return imported


@pytest.mark.parametrize("cls", BARE)
def test_a_field_that_is_absent_is_what_the_class_takes(cls, tmp_path):
    agrees(cls, {}, tmp_path)


@pytest.mark.parametrize("name", SPELLED)
def test_fields_as_the_hub_has_them(name, tmp_path):
    import transformers

    cls, fields = SPELLED[name]
    imported = agrees(cls, fields, tmp_path / "theirs")
    assert convert.write_folder(imported.config, imported.weights, 97, tmp_path / "out").label == cls
    again = getattr(transformers, cls).from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
    ids = torch.randint(5, 97, (1, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert close(ours(imported)(Batch(ids)), again(input_ids=ids).logits) <= 1e-5


REFUSED = {
    "hidden_act='gelu'": ("MixtralForCausalLM", {"hidden_act": "gelu"}),
    "use_sliding_window=True": ("Qwen3MoeForCausalLM", {"use_sliding_window": True}),
    "no layer has experts": ("Qwen3MoeForCausalLM", {"mlp_only_layers": [0, 1, 2, 3, 4]}),
    "layer_types: sliding_attention is not known": ("Qwen3NextForCausalLM", {"layer_types": ["sliding_attention"] * 5}),
    "attention_bias=True": ("Qwen3NextForCausalLM", {"attention_bias": True}),
    "norm_topk_prob=True": ("DeepseekV2ForCausalLM", {"norm_topk_prob": True}),
    "topk_method='noaux_tc'": ("DeepseekV2ForCausalLM", {"topk_method": "noaux_tc"}),
    "scoring_func='softmax'": ("DeepseekV3ForCausalLM", {"scoring_func": "softmax"}),
    "num_key_value_heads=4": ("DeepseekV3ForCausalLM", {"num_key_value_heads": 4}),
    "moe_layer_freq=2": ("DeepseekV3ForCausalLM", {"moe_layer_freq": 2}),
    "n_shared_experts=0": ("DeepseekV3ForCausalLM", {"n_shared_experts": 0}),
    "neither rope_parameters nor rope_scaling": ("GptOssForCausalLM", {"rope_scaling": None}),
    "mamba_d_head=12": ("GraniteMoeHybridForCausalLM", {"mamba_d_head": 12}),
    "time_step_limit": ("GraniteMoeHybridForCausalLM", {"time_step_limit": [0.0, 1.0]}),
    "position_embedding_type='alibi'": ("GraniteMoeHybridForCausalLM", {"position_embedding_type": "alibi"}),
    "lists name layers": (
        "KimiLinearForCausalLM",
        {"linear_attn_config": {"full_attn_layers": [2], "kda_layers": [1, 3, 4]}},
    ),
    "gate_lower_bound is not known": ("KimiLinearForCausalLM", {"linear_attn_config": {"gate_lower_bound": -5.0}}),
    "mla_use_nope=False": ("KimiLinearForCausalLM", {"mla_use_nope": False}),
    "mlp_layer_types: thin is not known": ("KimiLinearForCausalLM", {"mlp_layer_types": ["thin"] * 5}),
    "indexer_types: some layers share": ("GlmMoeDsaForCausalLM", {"indexer_types": ["full", "shared"] * 2 + ["full"]}),
    "choice of an earlier one": ("GlmMoeDsaForCausalLM", {"index_topk_freq": 4}),
    "attention_chunk_size=None": ("Llama4ForCausalLM", {"attention_chunk_size": None}),
    "num_zero_experts=2: not known": ("Llama4ForCausalLM", {"num_zero_experts": 2}),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_would_change_the_numbers_is_refused(fault):
    cls, fields = REFUSED[fault]
    config = {"architectures": [cls], **SIZES, **BARE[cls][1], **fields}
    with pytest.raises(UserError, match=fault):
        recipe_of(architecture_of(config, "here"), config, "here")


def test_tensors_of_a_second_token_are_left_out_and_scales_of_eight_bits_refused(tmp_path):
    agrees("DeepseekV3ForCausalLM", {}, tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "model.layers.61.mlp.experts.0.up_proj.weight": torch.zeros(2, 2)}, file)
    assert set(convert.read_folder(tmp_path).weights)
    save_file({**tensors, "model.layers.3.self_attn.o_proj.weight_scale_inv": torch.zeros(1, 1)}, file)
    with pytest.raises(UserError, match=r"o_proj\.weight_scale_inv has no place"):
        convert.read_folder(tmp_path)


# models that nobody imported, as one writes them here: experts' widths left to the part, layers named by a pattern
HALF = {"name": "rope", "layout": "half"}
SMALL = {"name": "decoder", "d_model": 32, "n_layers": 4, "context_length": 64, "norm": "rms", "position": HALF}
MOE = {"name": "moe", "n_experts": 4, "multiple_of": 8}
OWN = {
    "MixtralForCausalLM": {**SMALL, "ffn": {**MOE, "router": {"name": "softmax_top_k", "k": 2}, "load_balance": 0.05}},
    "Qwen3MoeForCausalLM": {
        **SMALL,
        "attention": {"name": "gqa", "qk_norm": "rms"},
        "ffn": {**MOE, "router": {"name": "softmax_top_k", "renormalise": False}},
        "pattern": ["dense", "sparse"],
        "layers": {"dense": {"ffn": {"name": "glu", "d_ff": 40}}},
    },
    "DeepseekV3ForCausalLM": {
        **SMALL,
        "attention": {
            "name": "mla",
            "q_rank": 16,
            "kv_rank": 8,
            "nope_dim": 8,
            "rope_dim": 4,
            "v_dim": 8,
            "latent_norm": "rms",
        },
        "ffn": {**MOE, "router": {"name": "sigmoid_top_k", "rate": 0.01}, "shared": {"name": "glu", "multiple_of": 8}},
        "layers": {"first": {"ffn": {"name": "glu", "d_ff": 40}}},
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
