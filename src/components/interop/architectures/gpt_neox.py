"""GPT-NeoX (Black et al. 2022, arXiv:2204.06745) and Pythia (Biderman et al. 2023, arXiv:2304.01373): a quarter of the channels turns, branches in parallel."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import decoder_sizes, rope, stack, tied
from components.interop.architectures._neox import EVERY, fused
from components.interop.fields import ACTIVATIONS, Mapped, Same

OLDER = {"rotary_pct": "partial_rotary_factor", "rotary_emb_base": "rope_theta"}


ARCHITECTURE = Architecture(
    names=("GPTNeoXForCausalLM",),
    model_type="gpt_neox",
    base={
        "model": {
            "name": "decoder",
            "position": {"name": "rope", "layout": "half"},
            "norm": "layer",
            "attention": "gqa",
            "ffn": {"name": "mlp", "bias": True},
        }
    },
    fields=(
        *decoder_sizes(),
        rope(share=0.25, older=OLDER),
        Mapped("use_parallel_residual", "model.block.name", {True: "parallel_two_norms", False: "pre_norm"}, True),
        Mapped("hidden_act", "model.ffn.activation", ACTIVATIONS, "gelu"),
        Mapped("attention_bias", "model.attention.bias", {True: EVERY, False: []}, True),
        Same("layer_norm_eps", "model.norm.eps", 1e-5),
        Same("attention_dropout", "model.attention.dropout", 0.0),
        Same("hidden_dropout", "model.residual.dropout", 0.0),
        tied(False),
    ),
    tensors=(
        Rule("gpt_neox.embed_in.weight", "embedding.table.weight"),
        fused("gpt_neox.layers.{i}.attention.query_key_value"),
        Rule("gpt_neox.layers.{i}.attention.dense.{p}", stack("attention.out.{p}")),
        Rule("gpt_neox.layers.{i}.mlp.dense_h_to_4h.{p}", stack("ffn.up.{p}")),
        Rule("gpt_neox.layers.{i}.mlp.dense_4h_to_h.{p}", stack("ffn.out.{p}")),
        Rule("gpt_neox.layers.{i}.input_layernorm.{p}", stack("attention_norm.{p}")),
        Rule("gpt_neox.layers.{i}.post_attention_layernorm.{p}", stack("ffn_norm.{p}")),
        Rule("gpt_neox.final_layer_norm.{p}", "stack.final_norm.{p}"),
        Rule("embed_out.weight", "head.logits.weight"),
    ),
    free=frozenset(("classifier_dropout",)),
    prefix="gpt_neox.",
    copies={"embed_out.weight": "gpt_neox.embed_in.weight"},
    ignored=tuple(f"gpt_neox.layers.{{i}}.attention.{n}" for n in ("bias", "masked_bias", "rotary_emb.inv_freq")),
)
