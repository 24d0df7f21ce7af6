"""Falcon 7B, 40B and RefinedWeb 1B (Almazrouei et al. 2023, arXiv:2311.16867): one class of transformers with two layouts, here one for each.

With ALiBi its code divides the penalties with the scores, by sqrt(head_dim), and rounds them to bf16: options of our position. Held to the class with
``attn_implementation="sdpa"`` there: in transformers 5.23 the eager one adds the penalties twice, once with the mask.
"""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ROPE_FIELDS, either, rope, stack, tied, unused
from components.interop.architectures._neox import EVERY, fused
from components.interop.fields import (
    ACTIVATIONS,
    Constant,
    Custom,
    Field,
    Fields,
    Get,
    Mapped,
    Options,
    Same,
    Theirs,
    Unsupported,
)

ROPE = rope(partial=False)


def _sizes(config: Theirs) -> tuple[int, int]:
    """Width of the stream, number of heads."""
    return config.get("hidden_size", config.get("n_embed", 4544)), config.get("num_attention_heads", 71)


def _read_position(config: Theirs) -> Options:
    if not config.get("alibi"):
        return {"model.position": {"name": "rope", "layout": "half"}, **ROPE.read(config)}
    width, heads = _sizes(config)
    return {"model.position": {"name": "alibi", "factor": (width // heads) ** -0.5, "rounding": "bfloat16"}}


def _write_position(get: Get) -> Fields:
    return {"alibi": True} if get("model.position.name") == "alibi" else {"alibi": False, **ROPE.write(get)}


def _read_inner(config: Theirs) -> Options:
    return {"model.ffn.d_ff": config.get("ffn_hidden_size") or 4 * _sizes(config)[0]}


def _write_inner(get: Get) -> Fields:
    return {"ffn_hidden_size": get("model.ffn.d_ff") or int(get("model.ffn.widen") * get("model.d_model"))}


def _read_bias(config: Theirs) -> Options:
    return {"model.attention.bias": EVERY if config.get("bias") else [], "model.ffn.bias": bool(config.get("bias"))}


def _read_heads(config: Theirs) -> Options:
    shared, heads, there = config.get("multi_query") is not False, _sizes(config)[1], config.get("num_kv_heads")
    if not shared and there not in (None, heads):
        raise Unsupported(f"num_kv_heads={there}: with multi_query=false its class needs {heads}, as many as queries")
    return {"model.attention.n_kv_heads": 1 if shared else None}


def _write_heads(get: Get) -> Fields:
    heads, queries = get("model.attention.n_kv_heads"), get("model.attention.n_heads")
    if heads not in (1, None, queries):
        raise Unsupported(f"n_kv_heads={heads}: without new_decoder_architecture there is 1, or as many as queries")
    return {"multi_query": heads == 1}


def _falcon(wiring: tuple[Field, ...], norms: dict[str, str], *, new: bool) -> Architecture:
    return Architecture(
        names=("FalconForCausalLM",),
        model_type="falcon",
        base={"model": {"name": "decoder", "norm": "layer", "attention": "gqa", "ffn": "mlp"}},
        fields=(
            Same("vocab_size", "vocab_size", 65024),
            either(("hidden_size", "n_embed"), "model.d_model", 4544),
            Same("num_hidden_layers", "model.n_layers", 32),
            Same("num_attention_heads", "model.attention.n_heads", 71),
            Same("max_position_embeddings", "model.context_length", 2048),
            Custom(("ffn_hidden_size",), _read_inner, _write_inner),
            Custom(("alibi", *ROPE_FIELDS), _read_position, _write_position),
            *wiring,
            Custom(("bias",), _read_bias, lambda get: {"bias": get("model.ffn.bias")}),
            Mapped("activation", "model.ffn.activation", ACTIVATIONS, "gelu"),
            Same("layer_norm_epsilon", "model.norm.eps", 1e-5),
            Same("hidden_dropout", "model.residual.dropout", 0.0),
            Same("attention_dropout", "model.attention.dropout", 0.0),
            Constant("apply_residual_connection_post_layernorm", False),
            tied(True),
        ),
        tensors=(
            Rule("transformer.word_embeddings.weight", "embedding.table.weight"),
            fused("transformer.h.{i}.self_attention.query_key_value"),
            Rule("transformer.h.{i}.self_attention.dense.{p}", stack("attention.out.{p}")),
            Rule("transformer.h.{i}.mlp.dense_h_to_4h.{p}", stack("ffn.up.{p}")),
            Rule("transformer.h.{i}.mlp.dense_4h_to_h.{p}", stack("ffn.out.{p}")),
            Rule("transformer.h.{i}.input_layernorm.{p}", stack("norm.{p}")),
            *(Rule(f"transformer.h.{{i}}.{theirs}.{{p}}", stack(f"{ours}.{{p}}")) for ours, theirs in norms.items()),
            Rule("transformer.ln_f.{p}", "stack.final_norm.{p}"),
            Rule("lm_head.weight", "head.logits.weight"),
        ),
        free=frozenset(("multi_query",)),  # the older layout reads it, the newer does not
        prefix="transformer.",
        copies={"lm_head.weight": "transformer.word_embeddings.weight"},
        fits=lambda config: bool(config.get("new_decoder_architecture")) == new,
    )


ARCHITECTURE = (
    _falcon(
        (
            Constant("new_decoder_architecture", False),
            Mapped("parallel_attn", "model.block.name", {True: "parallel", False: "pre_norm"}, True),
            unused("num_ln_in_parallel_attn", 1),
            Custom(("multi_query", "num_kv_heads"), _read_heads, _write_heads),
        ),
        {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"},
        new=False,
    ),
    _falcon(
        (
            Constant("new_decoder_architecture", True),
            Constant("parallel_attn", True),
            Mapped(
                "num_ln_in_parallel_attn",
                "model.block.name",
                {2: "parallel_two_norms", 1: "parallel", None: "parallel_two_norms"},
                None,
            ),
            Same("num_kv_heads", "model.attention.n_kv_heads", None),
        ),
        {"attention_norm": "ln_attn", "ffn_norm": "ln_mlp"},
        new=True,
    ),
)
