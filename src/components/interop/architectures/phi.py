"""Phi-1, Phi-1.5 and Phi-2 (Gunasekar et al. 2023, arXiv:2306.11644; Li et al. 2023, arXiv:2309.05463): half of the channels turns, one norm for both branches."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import decoder_sizes, rope, stack, tied
from components.interop.architectures._llama import norms_by_choice
from components.interop.fields import ACTIVATIONS, Mapped, Same


def _layer(theirs: str, ours: str) -> Rule:
    return Rule(f"model.layers.{{i}}.{theirs}.{{p}}", stack(f"{ours}.{{p}}"))


ARCHITECTURE = Architecture(
    names=("PhiForCausalLM",),
    model_type="phi",
    base={
        "model": {
            "name": "decoder",
            "position": {"name": "rope", "layout": "half"},
            "norm": "layer",
            "block": "parallel",
            "head": {"name": "linear", "bias": True},
            "attention": {"name": "gqa", "bias": ["q", "k", "v", "out"]},
            "ffn": {"name": "mlp", "bias": True},
        }
    },
    fields=(
        *decoder_sizes(),
        Same("num_key_value_heads", "model.attention.n_kv_heads", None),
        rope(share=0.5),
        norms_by_choice("qk_layernorm", "layer_norm_eps", 1e-5, name="layer"),
        Mapped("hidden_act", "model.ffn.activation", ACTIVATIONS, "gelu_new"),
        Same("attention_dropout", "model.attention.dropout", 0.0),
        Same("resid_pdrop", "model.residual.dropout", 0.0),
        Same("embd_pdrop", "model.embedding.dropout", 0.0),
        tied(False),
    ),
    tensors=(
        Rule("model.embed_tokens.weight", "embedding.table.weight"),
        *(_layer(f"self_attn.{n}_proj", f"attention.{n}") for n in "qkv"),
        _layer("self_attn.dense", "attention.out"),
        *(_layer(f"self_attn.{n}_layernorm", f"attention.{n}_norm") for n in "qk"),
        _layer("mlp.fc1", "ffn.up"),
        _layer("mlp.fc2", "ffn.out"),
        _layer("input_layernorm", "norm"),
        Rule("model.final_layernorm.{p}", "stack.final_norm.{p}"),
        Rule("lm_head.{p}", "head.logits.{p}"),
        Rule("lm_head.bias", "head.bias"),
    ),
    prefix="model.",
    copies={"lm_head.weight": "model.embed_tokens.weight"},
    ignored=("model.layers.{i}.self_attn.rotary_emb.inv_freq",),
)
