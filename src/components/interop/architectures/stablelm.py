"""StableLM 3B, 2 and Zephyr (Stability AI 2023, arXiv:2402.17834): layer norms, a quarter of the channels turns; StableLM 2 12B norms each head by itself
and has one norm for both branches."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, GLU, TIED, decoder_sizes, in_each, rope, stack
from components.interop.architectures._llama import BASE, DROPOUT, FILES, LAYER_ENDS, SILU, norms_by_choice
from components.interop.fields import Constant, Mapped, Same
from components.interop.layouts import Experts

ARCHITECTURE = Architecture(
    names=("StableLmForCausalLM",),
    model_type="stablelm",
    base={"model": {**BASE["model"], "norm": "layer"}},
    fields=(
        *decoder_sizes(),
        *(SILU, DROPOUT, TIED, rope(share=0.25)),
        Same("num_key_value_heads", "model.attention.n_kv_heads", 32),
        norms_by_choice("qk_layernorm", "layer_norm_eps", 1e-5, "per_head_weight", name="layer", bias=False),
        Mapped("use_qkv_bias", "model.attention.bias", {False: [], True: ["q", "k", "v"]}, False),
        Mapped("use_parallel_residual", "model.block.name", {False: "pre_norm", True: "parallel"}, False),
        Constant("hidden_dropout", 0.0),  # of one branch alone
    ),
    tensors=(
        *LAYER_ENDS,
        *ATTENTION,
        *GLU,
        *in_each("model.layers.{i}.", {"input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm"}),
        *in_each("model.layers.{i}.", {"input_layernorm": "norm"}),
        *(
            Rule(
                f"model.layers.{{i}}.self_attn.{n}_layernorm.norms.{{e}}.weight", stack(f"attention.{n}_norm.weight"), Experts()
            )
            for n in "qk"
        ),
    ),
    **FILES,
)
