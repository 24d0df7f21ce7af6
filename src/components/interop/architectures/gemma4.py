"""Gemma 4, text (Gemma Team 2026): Gemma 3n's shared keys and per-layer vectors in plain layers, whose stream is multiplied by a number at their end.

Layers that see everything have heads of another width, turn a quarter of their pairs, and may take their keys as values. Of a checkpoint that sees and hears
too, the text model is read: its ``use_bidirectional_attention="vision"`` is about pictures alone.
"""

from __future__ import annotations

from typing import Any

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import IN_IMAGES, stack, unused
from components.interop.architectures._gemma import FIELDS, GELU, TENSORS
from components.interop.architectures._gemma3n import BORROWED, HEARD, PLAIN_RMS, SHARED, VECTORS, layer_vectors, shared
from components.interop.architectures._layers import each_layer, in_layers, named
from components.interop.architectures._llama import BASE, EPS, FILES, QK_NORMS
from components.interop.architectures._moe import MOE, PROJECTIONS
from components.interop.architectures._windows import FULL, KINDS, SLIDING, by_layer, every
from components.interop.fields import Custom, Fields, Get, Node, Options, Same, Theirs, Unsupported, value_of
from components.interop.layouts import FusedExperts

# a ``text_config`` leaves out what is the class's own value
SIZES: dict[str, Any] = {
    "vocab_size": 262144,
    "hidden_size": 2304,
    "num_hidden_layers": 30,
    "max_position_embeddings": 131072,
    "num_attention_heads": 8,
    "final_logit_softcapping": None,
}
HEADS = (
    "head_dim",
    "num_key_value_heads",
    "global_head_dim",
    "num_global_key_value_heads",
    "attention_k_eq_v",
    "per_layer_config",
)
ELSEWHERE = {
    *HEADS,
    "attention_bias",
    "intermediate_size",
    "query_pre_attn_scalar",
    "rms_norm_eps",
    "hidden_activation",
    "use_bidirectional_attention",
}
ROPES = {
    SLIDING: {"rope_type": "default", "rope_theta": 10000.0},
    FULL: {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1000000.0},
}
TOKENS = {"name": "token", "scale": "sqrt"}


def _completed(config: Theirs) -> Fields:
    """With what the class puts in: rotations where none are said, and a last layer that sees everything."""
    count = value_of(config, "num_hidden_layers", SIZES["num_hidden_layers"])
    config = {**config, "num_hidden_layers": count}
    types = config.get("layer_types") or every(6)(config)
    return {**config, "layer_types": [*types[:-1], FULL], "rope_parameters": config.get("rope_parameters") or ROPES}


def _widths(config: Theirs, types: list[str]) -> dict[str, tuple[int, int]]:
    """{kind of layer: (width of a head, heads of keys)}."""
    plain = value_of(config, "head_dim", 256), value_of(config, "num_key_value_heads", 4)
    own: dict[str, Any] = config.get("per_layer_config") or {}
    if "per_layer_config" not in config or config["per_layer_config"] is None:
        heads = config.get("num_global_key_value_heads") if config.get("attention_k_eq_v") else None
        every_full = {"head_dim": value_of(config, "global_head_dim", 512), "num_key_value_heads": heads or plain[1]}
        own = {str(i): every_full for i, kind in enumerate(types) if kind == FULL}
    found: dict[str, tuple[int, int]] = {}
    for i, kind in enumerate(types):
        said = {"head_dim": plain[0], "num_key_value_heads": plain[1], **own.get(str(i), {})}
        if unknown := sorted(set(said) - {"head_dim", "num_key_value_heads"}):
            raise Unsupported(f"per_layer_config: {', '.join(unknown)} of layer {i} is not known")
        widths = said["head_dim"], said["num_key_value_heads"]
        if found.setdefault(kind, widths) != widths:
            raise Unsupported(f"per_layer_config: layer {i} has heads unlike those of other layers of {kind}")
    return found


def _of_kinds(config: Theirs, types: list[str]) -> dict[str, Node]:
    norm = {**PLAIN_RMS, "eps": value_of(config, "rms_norm_eps", 1e-6)}
    lent = shared(config, types, 0)
    made: dict[str, Node] = {}
    for kind, (width, heads) in _widths(config, types).items():
        keys = kind == FULL and bool(config.get("attention_k_eq_v"))
        bias = ["q", "k", *(["v"] * (not keys)), "out"] if config.get("attention_bias") else []
        value = {"name": "from_keys" if keys else "norm", "norm": norm}
        made[kind] = {"head_dim": width, "n_kv_heads": heads, "bias": bias, "value": value, **lent.get(kind, {})}
    return made


LAYERS = by_layer(every(6), 512, bases=(1e4, 1e6), more=_of_kinds)


def _write_heads(get: Get) -> Fields:
    kinds = LAYERS.write(get)["layer_types"]
    nodes = dict(zip(reversed(kinds), reversed(each_layer(get, "attention")), strict=True))
    if FULL not in nodes:
        raise Unsupported("no layer sees everything, and the class lets the last one do so")
    full = nodes[FULL]
    (width, heads), (own, of_own) = (_said(nodes.get(kind, full), get) for kind in KINDS)
    keys = named(full.get("value")).get("name") == "from_keys"
    made: Fields = {"head_dim": width, "num_key_value_heads": heads, "global_head_dim": own, "attention_k_eq_v": keys}
    made |= {"num_global_key_value_heads": of_own if keys else None, "attention_bias": "q" in (full.get("bias") or ())}
    if not keys and of_own != heads:
        said = {"head_dim": own, "num_key_value_heads": of_own}
        made["per_layer_config"] = {str(i): said for i, kind in enumerate(kinds) if kind == FULL}
    return made


def _said(node: Node, get: Get) -> tuple[int, int]:
    """(width of a head, heads of keys) of an attention, where it may have left them to the part."""
    heads = node["n_heads"]
    return node.get("head_dim") or get("model.d_model") // heads, node.get("n_kv_heads") or heads


def _read_ffns(config: Theirs) -> Options:
    bent = value_of(config, "hidden_activation", "gelu_pytorch_tanh")
    if bent not in GELU:
        raise Unsupported(f"hidden_activation={bent!r}: there are {', '.join(map(repr, GELU))}")
    width, lent = value_of(config, "intermediate_size", 9216), value_of(config, "num_kv_shared_layers", 0)
    dense = {"name": "glu", "activation": GELU[bent], "d_ff": width}
    wide = bool(config.get("use_double_wide_mlp") and lent)
    if config.get("enable_moe_block"):
        if wide:
            raise Unsupported("use_double_wide_mlp=True, and enable_moe_block: wide layers beside experts are not known")
        return {"model.block.ffn_norm": "none", "model.ffn": _with_experts(config, dense)}
    count = value_of(config, "num_hidden_layers", SIZES["num_hidden_layers"])
    made = in_layers(range(count - lent, count), count, "ffn", {"d_ff": 2 * width}) if wide else {}
    return {"model.ffn": dense, **made}


def _with_experts(config: Theirs, dense: Node) -> Node:
    norm = {"name": "rms", "eps": value_of(config, "rms_norm_eps", 1e-6)}
    router = {"name": "normed_top_k", "k": value_of(config, "top_k_experts"), "norm": norm}
    sizes = {"n_experts": value_of(config, "num_experts"), "d_ff": value_of(config, "moe_intermediate_size")}
    experts = {**MOE, "activation": dense["activation"], **sizes, "router": router, "expert_norm": norm}
    norms = dict.fromkeys(("first_norm", "first_output_norm", "second_output_norm"), norm)
    return {"name": "side_by_side", "first": dense, "second": experts, **norms}


def _write_ffns(get: Get) -> Fields:
    first, *_, last = 2 * each_layer(get, "ffn")
    if first["name"] != "side_by_side":
        widths = [node.get("d_ff") for node in (first, last)]
        made: Fields = {
            "intermediate_size": widths[0],
            "use_double_wide_mlp": widths[0] != widths[1],
            "enable_moe_block": False,
        }
    else:
        dense, experts = named(first["first"]), named(first["second"])
        parts = dense.get("name"), experts.get("name"), named(experts.get("router")).get("name")
        if parts != ("glu", "moe", "normed_top_k"):
            raise Unsupported(f"side_by_side has {', '.join(map(str, parts))}: it has glu, moe, normed_top_k")
        made = {"intermediate_size": dense.get("d_ff"), "use_double_wide_mlp": False, "enable_moe_block": True}
        made |= {"num_experts": experts["n_experts"], "moe_intermediate_size": experts["d_ff"]}
        made["top_k_experts"] = experts["router"]["k"]
    return {**made, "hidden_activation": "gelu_pytorch_tanh"}  # what any other activation differs from when it is read again


def _read_vectors(config: Theirs) -> Options:
    if not value_of(config, "hidden_size_per_layer_input", 256):
        return {"model.embedding": dict(TOKENS)}
    eps = value_of(config, "rms_norm_eps", 1e-6)
    embedding = {"name": "per_layer_embeddings", "scale": "sqrt", "norm": {"name": "rms", "eps": eps}}
    return {"model.embedding": embedding, "model.block.last_ffn": "per_layer_input", **VECTORS_OF.read(config)}


def _write_vectors(get: Get) -> Fields:
    if get("model.embedding.name") != "per_layer_embeddings":
        return {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": get("vocab_size")}
    return VECTORS_OF.write(get)


FFNS = (
    *("intermediate_size", "hidden_activation", "use_double_wide_mlp", "enable_moe_block"),
    *("num_experts", "top_k_experts", "moe_intermediate_size"),
)
VECTORS_OF = layer_vectors("model.block.last_ffn")
LAYER = "model.layers.{i}."
LAST = {"per_layer_input_gate": "last_ffn.gate", "per_layer_projection": "last_ffn.out"}
SIDES = {
    **{f"mlp.{a}": f"first.{b}" for a, b in PROJECTIONS},
    **{"router.proj": "second.router.logits", "pre_feedforward_layernorm": "first_norm"},
    **{"post_feedforward_layernorm_1": "first_output_norm", "post_feedforward_layernorm_2": "second_output_norm"},
    "pre_feedforward_layernorm_2": "second.expert_norm",
}
TRANSPOSED = FusedExperts(transposed=True)

ARCHITECTURE = Architecture(
    names=("Gemma4ForCausalLM", "Gemma4TextModel"),
    model_type="gemma4_text",
    base={"model": {**BASE["model"], "block": "scaled_sandwich", "attention": {"name": "gqa", "scale": 1.0, "qk_norm": "rms"}}},
    fields=(
        *(
            Same(f.theirs, f.ours, SIZES[f.theirs]) if isinstance(f, Same) and f.theirs in SIZES else f
            for f in FIELDS
            if not set(f.names) & ELSEWHERE
        ),
        Custom(FFNS, _read_ffns, _write_ffns),
        Same("rms_norm_eps", EPS, 1e-6),
        Custom(VECTORS_OF.names, _read_vectors, _write_vectors),
        Custom(LAYERS.names, lambda config: LAYERS.read(_completed(config)), LAYERS.write),
        Custom((*HEADS, "attention_bias"), lambda config: {}, _write_heads),  # noqa: ARG005  read with the kinds of layers
        SHARED,
        unused("use_bidirectional_attention", "vision", False),
    ),
    tensors=(
        *(*TENSORS, *QK_NORMS, *VECTORS),
        *(Rule(f"{LAYER}{a}.weight", stack(f"{b}.weight")) for a, b in LAST.items()),
        *(Rule(f"{LAYER}{a}.weight", stack(f"ffn.{b}.weight")) for a, b in SIDES.items()),
        Rule(f"{LAYER}router.per_expert_scale", stack("ffn.second.router.scale")),
        Rule(f"{LAYER}router.scale", stack("ffn.second.router.norm.weight")),
        Rule(f"{LAYER}experts.gate_up_proj", (stack("ffn.second.gate.weight"), stack("ffn.second.up.weight")), TRANSPOSED),
        Rule(f"{LAYER}experts.down_proj", stack("ffn.second.out.weight"), TRANSPOSED),
        Rule(f"{LAYER}post_per_layer_input_norm.weight", stack("last_ffn_output_norm.weight")),
        Rule(f"{LAYER}layer_scalar", stack("factor")),
    ),
    free=frozenset(
        ("cache_implementation", "num_experts", "top_k_experts", "moe_intermediate_size")
    ),  # read where there are experts
    within=("Gemma4ForConditionalGeneration",),
    **{**IN_IMAGES, "left": (*HEARD, *BORROWED)},
    **FILES,
)
