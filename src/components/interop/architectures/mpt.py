"""MPT (MosaicML 2023): ALiBi, norms without bias, queries, keys and values below one another in one matrix.

The class in transformers takes no notice of ``expansion_ratio``, ``no_bias``, ``logit_scale`` and most of ``attn_config``, ``alibi_bias_max`` among
it; MosaicML's own code does. Values for which the two differ are refused. ``learned_pos_emb`` means nothing beside ALiBi in either.
"""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import stack, tied
from components.interop.fields import FREE, Constant, Custom, Fields, Get, Options, Same, Theirs, Unsupported
from components.interop.layouts import Rows

ONLY = {
    **{"attn_type": "multihead_attention", "alibi": True, "alibi_bias_max": 8},
    **{"prefix_lm": False, "qk_ln": False, "attn_uses_sequence_id": False},
}
NAMED = ("attn_pdrop", "attn_impl", "clip_qkv", "softmax_scale")
TRAINING = ("emb_pdrop", "resid_pdrop", "embedding_fraction")


def _read_attention(config: Theirs) -> Options:
    given = config.get("attn_config") or {}
    if wrong := [f"{n}={given[n]!r}" for n, value in ONLY.items() if given.get(n, value) != value]:
        raise Unsupported(f"attn_config: {', '.join(wrong)} is not supported")
    if unknown := [n for n in given if n not in {*ONLY, *NAMED, *FREE} and given[n] is not None]:
        raise Unsupported(f"attn_config: {', '.join(unknown)} is not known, and may change the numbers")
    return {
        "model.attention.clip": given.get("clip_qkv") or None,
        "model.attention.scale": given.get("softmax_scale"),
        "model.attention.dropout": float(given.get("attn_pdrop", 0)),
        "model.residual.dropout": float(given.get("attn_pdrop", 0)),
    }


def _write_attention(get: Get) -> Fields:
    drop = get("model.attention.dropout")
    made = {"attn_pdrop": int(drop) if drop == int(drop) else drop}  # the class wants 0, not 0.0
    return {
        "attn_config": {**ONLY, **made, "clip_qkv": get("model.attention.clip"), "softmax_scale": get("model.attention.scale")}
    }


ARCHITECTURE = Architecture(
    names=("MptForCausalLM", "MPTForCausalLM"),
    model_type="mpt",
    base={
        "model": {
            "name": "decoder",
            "position": "alibi",
            "norm": {"name": "layer", "bias": False},
            "block": "pre_norm",
            "attention": "gqa",
            "ffn": {"name": "mlp", "widen": 4.0, "activation": "gelu"},
        }
    },
    fields=(
        Same("vocab_size", "vocab_size", 50368),
        Same("d_model", "model.d_model", 2048),
        Same("n_layers", "model.n_layers", 24),
        Same("n_heads", "model.attention.n_heads", 16),
        Same("max_seq_len", "model.context_length", 2048),
        Same("layer_norm_epsilon", "model.norm.eps", 1e-5),
        Custom(("attn_config",), _read_attention, _write_attention),
        Constant("expansion_ratio", 4),
        Constant("no_bias", True),
        Constant("logit_scale", None),
        tied(True),
    ),
    tensors=(
        Rule("transformer.wte.weight", "embedding.table.weight"),
        Rule("transformer.blocks.{i}.attn.Wqkv.weight", tuple(stack(f"attention.{n}.weight") for n in "qkv"), Rows()),
        Rule("transformer.blocks.{i}.attn.out_proj.weight", stack("attention.out.weight")),
        Rule("transformer.blocks.{i}.ffn.up_proj.weight", stack("ffn.up.weight")),
        Rule("transformer.blocks.{i}.ffn.down_proj.weight", stack("ffn.out.weight")),
        Rule("transformer.blocks.{i}.norm_1.weight", stack("attention_norm.weight")),
        Rule("transformer.blocks.{i}.norm_2.weight", stack("ffn_norm.weight")),
        Rule("transformer.norm_f.weight", "stack.final_norm.weight"),
        Rule("lm_head.weight", "head.logits.weight"),
    ),
    free=frozenset((*TRAINING, "learned_pos_emb", "norm_type", "init_device", "init_config", "tokenizer_name", "verbose")),
    prefix="transformer.",
    copies={"lm_head.weight": "transformer.wte.weight"},
)
