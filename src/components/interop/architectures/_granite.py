"""What the Granite models share: four multipliers, and the experts of the mixtures."""

from __future__ import annotations

from components.interop.architecture import Rule
from components.interop.architectures._common import HEAD_DIM, TIED, decoder_sizes, stack
from components.interop.architectures._moe import MOE, attention_fields, count
from components.interop.fields import Custom, Fields, Get, Options, Same, Theirs, value_of
from components.interop.layouts import FusedExperts


def _read(config: Theirs) -> Options:
    return {"model.head.multiplier": 1 / value_of(config, "logits_scaling", 1.0)}


def _write(get: Get) -> Fields:
    divisor = 1 / get("model.head.multiplier")
    return {"logits_scaling": rounded if 1 / (rounded := round(divisor, 6)) == get("model.head.multiplier") else divisor}


MULTIPLIERS = (
    Same("embedding_multiplier", "model.embedding.scale", 1.0),
    Same("attention_multiplier", "model.attention.scale", 1.0),
    Same("residual_multiplier", "model.residual.scale", 1.0),
    Custom(("logits_scaling",), _read, _write),
)
FUSED = FusedExperts(transposed=True)
EXPERTS = (
    Rule(
        "model.layers.{i}.block_sparse_moe.input_linear.weight",
        (stack("ffn.gate.weight"), stack("ffn.up.weight")),
        FUSED,
        dims=3,
    ),
    Rule("model.layers.{i}.block_sparse_moe.output_linear.weight", stack("ffn.out.weight"), FUSED, dims=3),
    Rule("model.layers.{i}.block_sparse_moe.router.layer.weight", stack("ffn.router.logits.weight")),
)
NODE = {**MOE, "router": "top_k_softmax"}
FIELDS = (
    *decoder_sizes(),
    *attention_fields(None),
    HEAD_DIM,
    *MULTIPLIERS,
    count("num_local_experts"),
    Same("num_experts_per_tok", "model.ffn.router.k", 2),
    Same("rms_norm_eps", "model.norm.eps", 1e-6),
    TIED,
)
