"""StarCoder and SantaCoder (Allal et al. 2023, arXiv:2301.03988; Li et al. 2023, arXiv:2305.06161): GPT-2 whose heads share one key and value."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import in_each, stack, unused
from components.interop.architectures._gpt2 import SIZES, SUMMARY
from components.interop.architectures._neox import EVERY
from components.interop.fields import ACTIVATIONS, Constant, Mapped
from components.interop.layouts import Rows

NAMES = {
    "attn.c_proj": "attention.out",
    "mlp.c_fc": "ffn.up",
    "mlp.c_proj": "ffn.out",
    "ln_1": "attention_norm",
    "ln_2": "ffn_norm",
}
ARCHITECTURE = Architecture(
    names=("GPTBigCodeForCausalLM",),
    model_type="gpt_bigcode",
    base={
        "model": {
            **{"name": "decoder", "position": "learned", "norm": "layer", "block": "pre_norm", "head": "tied"},
            **{"attention": {"name": "gqa", "bias": EVERY, "n_kv_heads": 1}, "ffn": {"name": "mlp", "bias": True}},
        }
    },
    fields=(
        *SIZES,
        *(
            unused("num_key_value_heads", 1),
            *(Constant(n, True) for n in ("scale_attn_weights", "multi_query", "tie_word_embeddings")),
        ),
        Mapped(
            "activation_function",
            "model.ffn.activation",
            {"gelu_pytorch_tanh": "gelu_tanh", **ACTIVATIONS},
            "gelu_pytorch_tanh",
        ),
    ),
    tensors=(
        Rule("transformer.wte.weight", "embedding.table.weight"),
        Rule("transformer.wpe.weight", "stack.positions.0.table.weight"),
        Rule("transformer.h.{i}.attn.c_attn.{p}", tuple(stack(f"attention.{n}.{{p}}") for n in "qkv"), Rows()),
        Rule("transformer.ln_f.{p}", "stack.final_norm.{p}"),
        *in_each("transformer.h.{i}.", NAMES),
    ),
    free=frozenset(("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32", *(f"summary_{w}" for w in SUMMARY))),
    prefix="transformer.",
    copies={"lm_head.weight": "transformer.wte.weight"},
)
