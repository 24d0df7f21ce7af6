"""What DeepSeek-V2 and V3 share: latent attention, dense layers first, experts every token passes through."""

from __future__ import annotations

import math
from typing import Any

from components.interop.architecture import Rule
from components.interop.architectures._common import ROPE_FIELDS, TIED, decoder_sizes, flat_rope, stack, unused
from components.interop.architectures._moe import DENSE_GLU, EMBEDDED, FREE, dense_first, experts, shared
from components.interop.fields import Constant, Custom, Field, Fields, Get, Mapped, Options, Same, Theirs, Unsupported, value_of
from components.interop.layouts import Chunks, Rows

BIASED = ["q_down", "kv_down", "k_rope", "out"]
# sizes that the classes compute themselves, and what DeepSeek's own code reads for training
MLA_FREE = FREE | {"head_dim", "qk_head_dim", "aux_loss_alpha", "seq_aux", "ep_size"}


def _read_scale(config: Theirs) -> Options:
    """The factor on scores: YaRN's ``mscale_all_dim`` multiplies it by the square of what rotated vectors grow by."""
    parameters = flat_rope(config, 10000.0)
    scaled = parameters.get("rope_type", parameters.get("type", "default")) != "default"
    if not scaled or not parameters.get("mscale_all_dim"):
        return {}
    grows = 0.1 * parameters["mscale_all_dim"] * math.log(parameters["factor"]) + 1.0 if parameters["factor"] > 1 else 1.0
    width = value_of(config, "qk_nope_head_dim", 128) + value_of(config, "qk_rope_head_dim", 64)
    return {"model.attention.scale": width**-0.5 * grows * grows}


def _read_kv_heads(config: Theirs) -> Options:
    count = config.get("num_key_value_heads")
    if count not in (None, config["num_attention_heads"]):
        raise Unsupported(f"num_key_value_heads={count!r}: a head has keys of its own, so it is num_attention_heads or nothing")
    return {}


def _write_kv_heads(get: Get) -> Fields:
    return {"num_key_value_heads": get("model.attention.n_heads")}


def shared_experts(theirs: str) -> Custom:
    """Experts that every token passes through, as one as wide as all of them; the field ``theirs`` says how many."""

    def read(config: Theirs) -> Options:
        width, how_many = value_of(config, "moe_intermediate_size"), value_of(config, theirs)
        if not how_many:
            raise Unsupported(f"{theirs}={how_many!r}: its class needs one at least")
        glu = {"name": "glu", "activation": "silu", "d_ff": width * how_many}
        return {"model.ffn.d_ff": width, "model.ffn.shared": glu}

    def write(get: Get) -> Fields:
        width, wide = get("model.ffn.d_ff"), get("model.ffn.shared.d_ff")
        if not width or not wide or wide % width:
            raise Unsupported(f"model.ffn.shared.d_ff={wide}: it has to be a multiple of model.ffn.d_ff={width}")
        return {"moe_intermediate_size": width, theirs: wide // width}

    return Custom(("moe_intermediate_size", theirs), read, write)


def routed(dense: int) -> tuple[Field, ...]:
    """Experts that a router chooses, shared ones, and dense layers before them: ``dense`` of them where nothing is said."""
    return (
        Same("n_routed_experts", "model.ffn.n_experts"),
        Same("num_experts_per_tok", "model.ffn.router.k"),
        Same("routed_scaling_factor", "model.ffn.routed_scale"),
        shared_experts("n_shared_experts"),
        unused("moe_layer_freq", 1),
        dense_first("first_k_dense_replace", dense),
    )


LATENT: tuple[Field, ...] = (
    *(f for f in decoder_sizes() if f.names != ("intermediate_size",)),
    Custom(("num_key_value_heads",), _read_kv_heads, _write_kv_heads),
    Same("q_lora_rank", "model.attention.q_rank", 1536),
    Same("kv_lora_rank", "model.attention.kv_rank", 512),
    Same("qk_nope_head_dim", "model.attention.nope_dim", 128),
    Same("qk_rope_head_dim", "model.attention.rope_dim", 64),
    Same("v_head_dim", "model.attention.v_dim", 128),
    Mapped("attention_bias", "model.attention.bias", {False: [], True: BIASED}, False),
    Same("attention_dropout", "model.attention.dropout", 0.0),
    Custom(ROPE_FIELDS, _read_scale, lambda _: {}),
    Constant("hidden_act", "silu"),
    Same("rms_norm_eps", "model.norm.eps", 1e-6),
)


def fields(*, dense: int) -> tuple[Field, ...]:
    return (*LATENT, *routed(dense), TIED)


def _rule(theirs: str, ours: str | tuple[str, ...], *form: Any) -> Rule:
    names = (ours,) if isinstance(ours, str) else ours
    return Rule(f"model.layers.{{i}}.self_attn.{theirs}", tuple(stack(f"attention.{n}") for n in names), *form)


ROUTED = (
    *experts(),
    *shared("shared_experts"),
    *DENSE_GLU,
    Rule("model.layers.{i}.mlp.gate.weight", stack("ffn.router.logits.weight")),
)
LATENT_TENSORS = (
    *EMBEDDED,
    _rule("q_proj.weight", "q.weight"),
    _rule("q_a_proj.{p}", "q_down.{p}"),
    _rule("q_a_layernorm.weight", "q_norm.weight"),
    _rule("q_b_proj.weight", "q_up.weight"),
    _rule("kv_a_proj_with_mqa.{p}", ("kv_down.{p}", "k_rope.{p}"), Rows()),
    _rule("kv_a_layernorm.weight", "kv_norm.weight"),
    _rule("kv_b_proj.weight", ("k_up.weight", "v_up.weight"), lambda get: Chunks(get("model.attention.n_heads"))),
    _rule("o_proj.{p}", "out.{p}"),
)
TENSORS = (*LATENT_TENSORS, *ROUTED)
