"""GPT-2 (Radford et al. 2019): one fused matrix for queries, keys and values, every matrix kept (in, out)."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import stack
from components.interop.architectures._gpt2 import SIZES, SUMMARY
from components.interop.fields import ACTIVATIONS, Constant, Mapped, Same
from components.interop.layouts import Rows, Transposed

EVERY = ["q", "k", "v", "out"]


def _qkv(p: str) -> tuple[str, ...]:
    return tuple(stack(f"attention.{n}.{p}") for n in "qkv")


ARCHITECTURE = Architecture(
    names=("GPT2LMHeadModel", "GPT2Model"),
    model_type="gpt2",
    base={
        "model": {
            "name": "decoder",
            "position": "learned",
            "norm": "layer",
            "block": "pre_norm",
            "head": "tied",
            "attention": {"name": "gqa", "bias": EVERY},
            "ffn": {"name": "mlp", "bias": True},
        }
    },
    fields=(
        *SIZES,
        Mapped("activation_function", "model.ffn.activation", ACTIVATIONS, "gelu_new"),
        Same("scale_attn_by_inverse_layer_idx", "model.attention.scale_by_layer", False),
        Constant("scale_attn_weights", True),
        Constant("tie_word_embeddings", True),
    ),
    tensors=(
        Rule("transformer.wte.weight", "embedding.table.weight"),
        Rule("transformer.wpe.weight", "stack.positions.0.table.weight"),
        Rule("transformer.h.{i}.attn.c_attn.weight", _qkv("weight"), Rows(transposed=True)),
        Rule("transformer.h.{i}.attn.c_attn.bias", _qkv("bias"), Rows()),
        Rule("transformer.h.{i}.attn.c_proj.{p}", stack("attention.out.{p}"), Transposed()),
        Rule("transformer.h.{i}.mlp.c_fc.{p}", stack("ffn.up.{p}"), Transposed()),
        Rule("transformer.h.{i}.mlp.c_proj.{p}", stack("ffn.out.{p}"), Transposed()),
        Rule("transformer.h.{i}.ln_1.{p}", stack("attention_norm.{p}")),
        Rule("transformer.h.{i}.ln_2.{p}", stack("ffn_norm.{p}")),
        Rule("transformer.ln_f.{p}", "stack.final_norm.{p}"),
    ),
    free=frozenset(("n_ctx", "reorder_and_upcast_attn", *(f"summary_{w}" for w in SUMMARY))),
    prefix="transformer.",
    copies={"lm_head.weight": "transformer.wte.weight"},
    ignored=("transformer.h.{i}.attn.bias", "transformer.h.{i}.attn.masked_bias"),
)
