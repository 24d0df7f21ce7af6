"""Llama 4's text model (Meta 2025): rotary positions within chunks in three layers of four, all and no position in the fourth.

Rotated queries and keys are normed after the rotation; where nothing rotates, queries grow with the position. A router's weight
scales what an expert reads. The hub's checkpoints are of the class with images: their text model is read.
"""

from __future__ import annotations

from typing import Any

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, IN_IMAGES, TIED, decoder_sizes, rope, stack
from components.interop.architectures._layers import each_layer, in_layers, layers_of, named, option
from components.interop.architectures._moe import (
    EMBEDDED,
    FREE,
    MOE,
    PROJECTIONS,
    attention_fields,
    count,
    dense_layers,
    shared,
)
from components.interop.fields import Custom, Fields, Get, Options, Same, Theirs, Unsupported, value_of
from components.interop.layouts import FusedExperts

KINDS = ("chunked_attention", "full_attention")
POSITION_FIELDS = ("no_rope_layers", "no_rope_layer_interval", "attn_temperature_tuning", "attn_scale", "floor_scale")
LAYER_FIELDS = (*POSITION_FIELDS, "layer_types", "attention_chunk_size", "use_qk_norm", "rms_norm_eps")
MOE_FIELDS = ("moe_layers", "interleave_moe_layer_step", "intermediate_size", "intermediate_size_mlp")


def _read_layers(config: Theirs) -> Options:
    n, every = config["num_hidden_layers"], config.get("no_rope_layer_interval") or 4
    turned = config.get("no_rope_layers") or [int((i + 1) % every != 0) for i in range(n)]
    types = config.get("layer_types") or [KINDS[not t] for t in turned]
    if unknown := sorted(set(types) - set(KINDS)):
        raise Unsupported(f"layer_types: {', '.join(unknown)} is not known, there are {', '.join(KINDS)}")
    eps = value_of(config, "rms_norm_eps", 1e-5)
    norm = {"name": "rms", "scale": "none", "eps": eps} if config.get("use_qk_norm", True) else "none"
    size = value_of(config, "attention_chunk_size", 8192)
    if size is None:
        raise Unsupported("attention_chunk_size=None: its class needs a number even where no layer is chunked")
    chunks = {"name": "chunked", "size": size}
    made: dict[str, Any] = {"model.norm.eps": eps, "model.attention.qk_norm": norm, "model.attention.mask": chunks}
    for unturned in (False, True):
        for full in (False, True):
            edit = {**({"qk_norm": "none"} if unturned else {}), **({"mask": "full"} if full else {})}
            which = [i for i in range(n) if (not turned[i], types[i] == KINDS[1]) == (unturned, full)]
            made |= in_layers(which, n, "attention", edit) if edit else {}
    grows = {
        n: value_of(config, theirs, d) for n, theirs, d in (("scale", "attn_scale", 0.1), ("floor_scale", "floor_scale", 8192))
    }
    node = {"name": "log_temperature", **grows} if config.get("attn_temperature_tuning", True) else "none"
    return made | in_layers([i for i in range(n) if not turned[i]], n, "position", node)


def _write_layers(get: Get) -> Fields:
    turned, mixers = layers_of(get, "position", "rope"), each_layer(get, "attention")
    masks, norms = ([named(node.get(socket)) for node in mixers] for socket in ("mask", "qk_norm"))
    return {
        "no_rope_layers": [int(i in turned) for i in range(get("model.n_layers"))],
        "layer_types": [KINDS[m.get("name") != "chunked"] for m in masks],
        "attention_chunk_size": next((m["size"] for m in masks if m.get("name") == "chunked"), 8192),
        "attn_temperature_tuning": bool(layers_of(get, "position", "log_temperature")),
        "attn_scale": option(get, "position", "log_temperature", "scale", 0.1),
        "floor_scale": option(get, "position", "log_temperature", "floor_scale", 8192),
        "use_qk_norm": any(n.get("name") == "rms" for n in norms),
        "rms_norm_eps": get("model.norm.eps"),
    }


def _read_experts(config: Theirs) -> Options:
    n, step, width = (
        config["num_hidden_layers"],
        config.get("interleave_moe_layer_step", 1),
        value_of(config, "intermediate_size"),
    )
    moe = config.get("moe_layers")
    moe = range(step - 1, n, step) if moe is None else moe
    glu = {"name": "glu", "activation": "silu", "d_ff": width}
    dense = dense_layers(config, (i for i in range(n) if i not in moe), "intermediate_size_mlp")
    return {"model.ffn.d_ff": width, "model.ffn.shared": glu, **dense}


def _write_experts(get: Get) -> Fields:
    width = get("model.ffn.d_ff")
    wide = option(get, "ffn", "glu", "d_ff", width)
    return {"moe_layers": layers_of(get, "ffn", "moe"), "intermediate_size": width, "intermediate_size_mlp": wide}


_EXPERTS = "model.layers.{i}.feed_forward."
ARCHITECTURE = Architecture(
    names=("Llama4ForCausalLM",),
    model_type="llama4_text",
    base={
        "model": {
            "name": "decoder",
            "position": {"name": "rope", "layout": "interleaved"},
            "norm": "rms",
            "block": "pre_norm",
            "attention": {"name": "gqa", "qk_norm_at": "after"},
            "ffn": {
                **MOE,
                "weigh": "input",
                "router": {"name": "sigmoid_top_k", "renormalise": False, "rate": 0.0, "corrected": False},
            },
        }
    },
    fields=(
        *(f for f in decoder_sizes() if f.names != ("intermediate_size",)),
        *attention_fields(8),
        Same("head_dim", "model.attention.head_dim", 128),
        rope(500000.0, partial=False),
        Custom(LAYER_FIELDS, _read_layers, _write_layers),
        count("num_local_experts"),
        Same("num_experts_per_tok", "model.ffn.router.k", 1),
        Custom(MOE_FIELDS, _read_experts, _write_experts),
        TIED,
    ),
    tensors=(
        *EMBEDDED,
        *ATTENTION,
        Rule(f"{_EXPERTS}experts.gate_up_proj", (stack("ffn.gate.weight"), stack("ffn.up.weight")), FusedExperts(), dims=3),
        Rule(f"{_EXPERTS}experts.down_proj", stack("ffn.out.weight"), dims=3),
        *shared("shared_expert", "feed_forward"),
        *(Rule(f"{_EXPERTS}{theirs}.weight", stack(f"ffn.{ours}.weight"), dims=2) for theirs, ours in PROJECTIONS),
        Rule(f"{_EXPERTS}router.weight", stack("ffn.router.logits.weight")),
    ),
    free=FREE | {"cache_implementation", "for_llm_compressor"},
    prefix="model.",
    within=("Llama4ForConditionalGeneration",),
    **IN_IMAGES,
    copies={"lm_head.weight": "model.embed_tokens.weight"},
)
