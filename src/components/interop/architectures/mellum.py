"""Mellum 2 (JetBrains 2026): Qwen3-MoE with windows, and a rotary base for each kind of layer."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, TIED, decoder_sizes, head_dim, stack
from components.interop.architectures._layers import layers_of, option
from components.interop.architectures._llama import EPS, FILES, QK, QK_NORMS
from components.interop.architectures._moe import DENSE_GLU, EMBEDDED, FREE, MOE, attention_fields, count, dense_layers, experts
from components.interop.architectures._windows import FULL, by_layer
from components.interop.fields import Custom, Fields, Get, Options, Same, Theirs


def _read(config: Theirs) -> Options:
    dense = [i for i, kind in enumerate(config.get("mlp_layer_types") or ()) if kind == "dense"]
    return dense_layers(config, dense, "intermediate_size")


def _write(get: Get) -> Fields:
    kinds = ["dense" if i in layers_of(get, "ffn", "glu") else "sparse" for i in range(get("model.n_layers"))]
    return {"mlp_layer_types": kinds, "intermediate_size": option(get, "ffn", "glu", "d_ff", get("model.ffn.d_ff"))}


ARCHITECTURE = Architecture(
    names=("MellumForCausalLM",),
    model_type="mellum",
    base={"model": {**QK["model"], "ffn": {**MOE, "router": "softmax_top_k"}}},
    fields=(
        *(f for f in decoder_sizes() if f.names != ("intermediate_size",)),
        *(*attention_fields(4), head_dim(128), count("num_experts", "num_local_experts"), TIED),
        by_layer(lambda config: [FULL] * config["num_hidden_layers"], 1024, bases=(1e4, 5e5)),
        Custom(("mlp_layer_types", "intermediate_size"), _read, _write),
        Same("num_experts_per_tok", "model.ffn.router.k", 8),
        Same("norm_topk_prob", "model.ffn.router.renormalise", True),
        Same("moe_intermediate_size", "model.ffn.d_ff", 896),
        Same("rms_norm_eps", EPS, 1e-6),
    ),
    tensors=(
        *(*EMBEDDED, *ATTENTION, *QK_NORMS, *experts(), *DENSE_GLU),
        Rule("model.layers.{i}.mlp.gate.weight", stack("ffn.router.logits.weight")),
    ),
    free=FREE | {"num_nextn_predict_layers", "num_mtp_layers", "mtp_layer_types", "mtp_mlp_layer_types"},
    **{**FILES, "ignored": ("mtp.*",)},
)
