"""Gemma 3n, text (Gemma Team 2025): four vectors a token of which layers read one, vectors of each token for every layer, late layers that share keys.

The class turns LAuReL's map, AltUp's coefficients and per-layer vectors on for every model, so all are parts of the base. Of a checkpoint that sees and
hears too (all that were released), the text model is read.
"""

from __future__ import annotations

from collections import Counter

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import IN_IMAGES, stack, unused
from components.interop.architectures._gemma import FIELDS, GELU, TENSORS
from components.interop.architectures._gemma3n import ATTENTION, BORROWED, EPS, HEARD, SHARED, VECTORS, layer_vectors, shared
from components.interop.architectures._layers import each_layer, in_layers
from components.interop.architectures._llama import BASE, FILES, QK_NORMS
from components.interop.architectures._windows import by_layer, every
from components.interop.fields import Constant, Custom, Fields, Get, Mapped, Node, Options, Same, Theirs, value_of

# a ``text_config`` leaves out what is the class's own value
SIZES = {
    "vocab_size": 262400,
    "hidden_size": 2048,
    "num_hidden_layers": 35,
    "max_position_embeddings": 32768,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
}
ELSEWHERE = ("intermediate_size", "query_pre_attn_scalar", "rms_norm_eps", "hidden_activation")


def _read_ffns(config: Theirs) -> Options:
    """Width and sparsity of each layer's ffn; those that most layers have are the model's."""
    n_layers = value_of(config, "num_hidden_layers", SIZES["num_hidden_layers"])
    widths = value_of(config, "intermediate_size", 16384)
    widths = widths if isinstance(widths, list) else [widths] * n_layers
    sparse = config.get("activation_sparsity_pattern")
    sparse = [0.95 * (n_layers > 10 > i) for i in range(n_layers)] if sparse is None else sparse
    kinds = list(zip(widths, sparse, strict=True))
    (most, _), *_ = Counter(kinds).most_common(1)
    made: Options = {f"model.ffn.{n}": v for n, v in _ffn(*most).items()}
    for kind in dict.fromkeys(k for k in kinds if k != most):
        made |= in_layers([i for i, k in enumerate(kinds) if k == kind], n_layers, "ffn", _ffn(*kind))
    return made


def _ffn(width: int, sparsity: float) -> Node:
    return {"name": "glu", "d_ff": width} if not sparsity else {"name": "sparse_glu", "d_ff": width, "sparsity": sparsity}


def _write_ffns(get: Get) -> Fields:
    nodes = each_layer(get, "ffn")
    sparse = [float(node["sparsity"]) if node["name"] == "sparse_glu" else 0.0 for node in nodes]
    return {"intermediate_size": [node["d_ff"] for node in nodes], "activation_sparsity_pattern": sparse}


LAYER = "model.layers.{i}."
UPDATE = {
    "modality_router": "router",
    "prediction_coefs": "prediction",
    "correction_coefs": "correction",
    "router_norm": "router_norm",
}
LAUREL = {"linear_left": "down", "linear_right": "out", "post_laurel_norm": "out_norm"}
SIDE = {"per_layer_input_gate": "ffn.gate", "per_layer_projection": "ffn.out", "post_per_layer_input_norm": "norm"}

ARCHITECTURE = Architecture(
    names=("Gemma3nForCausalLM", "Gemma3nTextModel"),
    model_type="gemma3n_text",
    base={
        "model": {
            **BASE["model"],
            "embedding": {"name": "per_layer_embeddings", "scale": "sqrt"},
            "stack": {"name": "altup", "side_ffn": "per_layer_input"},
            "block": "laurel",
            "attention": ATTENTION,
        }
    },
    fields=(
        *(
            Same(f.theirs, f.ours, SIZES[f.theirs]) if isinstance(f, Same) and f.theirs in SIZES else f
            for f in FIELDS
            if not set(f.names) & set(ELSEWHERE)
        ),
        Custom(("intermediate_size", "activation_sparsity_pattern"), _read_ffns, _write_ffns),
        Same("rms_norm_eps", EPS, 1e-6),
        Mapped("hidden_activation", "model.ffn.activation", GELU, "gelu_pytorch_tanh"),
        layer_vectors("model.stack.side_ffn"),
        by_layer(every(5), 512, "rope_local_base_freq", bases=(1e4, 1e6), more=lambda config, types: shared(config, types, 15)),
        SHARED,
        Same("laurel_rank", "model.block.rank", 64),
        Same("altup_num_inputs", "model.stack.streams", 4),
        Same("altup_coef_clip", "model.stack.clip", 120.0),
        Constant("altup_active_idx", 0),
        Constant("altup_correct_scale", True),
        unused("attn_logit_softcapping"),
    ),
    tensors=(
        *(*TENSORS, *QK_NORMS, *VECTORS),
        Rule("model.altup_projections.{i}.weight", "stack.openings.{i}.weight"),
        Rule("model.altup_unembed_projections.{i}.weight", "stack.closings.{i}.weight"),
        *(Rule(f"{LAYER}altup.{a}.weight", f"stack.updates.{{i}}.{b}.weight") for a, b in UPDATE.items()),
        *(Rule(f"{LAYER}laurel.{a}.weight", stack(f"{b}.weight")) for a, b in LAUREL.items()),
        *(Rule(f"{LAYER}{a}.weight", f"stack.sides.{{i}}.{b}.weight") for a, b in SIDE.items()),
        Rule(f"{LAYER}altup.correct_output_scale", "stack.sides.{i}.scale"),
    ),
    free=frozenset(("cache_implementation", "altup_lr_multiplier")),
    within=("Gemma3nForConditionalGeneration",),
    **{**IN_IMAGES, "left": (*HEARD, *BORROWED)},
    **FILES,
)
