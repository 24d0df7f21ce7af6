"""StableLM 3B, 2 and Zephyr (Stability AI 2023, arXiv:2402.17834): layer norms, a quarter of the channels turns; StableLM 2 12B norms each head by itself
and has one norm for both branches."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, GLU, TIED, decoder_sizes, in_each, rope, stack
from components.interop.architectures._llama import BASE, DROPOUT, FILES, SILU
from components.interop.fields import Constant, Custom, Fields, Get, Mapped, Options, Same, Theirs, value_of
from components.interop.layouts import Experts


def _read(config: Theirs) -> Options:
    eps = value_of(config, "layer_norm_eps", 1e-5)
    node = {"qk_norm": {"name": "layer", "eps": eps, "bias": False}, "qk_norm_over": "per_head_weight"}
    heads = {f"model.attention.{n}": v for n, v in node.items()} if config.get("qk_layernorm") else {}
    return {"model.norm.eps": eps, **heads}


def _write(get: Get) -> Fields:
    return {"layer_norm_eps": get("model.norm.eps"), "qk_layernorm": get("model.attention.qk_norm.name") == "layer"}


ARCHITECTURE = Architecture(
    names=("StableLmForCausalLM",),
    model_type="stablelm",
    base={"model": {**BASE["model"], "norm": "layer"}},
    fields=(
        *decoder_sizes(),
        *(SILU, DROPOUT, TIED, rope(share=0.25)),
        Same("num_key_value_heads", "model.attention.n_kv_heads", 32),
        Custom(("layer_norm_eps", "qk_layernorm"), _read, _write),
        Mapped("use_qkv_bias", "model.attention.bias", {False: [], True: ["q", "k", "v"]}, False),
        Mapped("use_parallel_residual", "model.block.name", {False: "pre_norm", True: "parallel"}, False),
        Constant("hidden_dropout", 0.0),  # of one branch alone
    ),
    tensors=(
        Rule("model.embed_tokens.weight", "embedding.table.weight"),
        Rule("model.norm.{p}", "stack.final_norm.{p}"),
        Rule("lm_head.weight", "head.logits.weight"),
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
