"""Granite's mixtures with an expert that every token passes through (IBM 2024)."""

from __future__ import annotations

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, rope, stack
from components.interop.architectures._granite import EXPERTS, FIELDS, NODE
from components.interop.architectures._llama import BASE, FILES
from components.interop.architectures._moe import EMBEDDED, FREE
from components.interop.fields import Custom, Fields, Get, Options, Theirs, Unsupported
from components.interop.layouts import Rows


def _read(config: Theirs) -> Options:
    if not config.get("shared_intermediate_size"):
        raise Unsupported("shared_intermediate_size=0: that is GraniteMoeForCausalLM")
    return {"model.ffn.shared": {"name": "glu", "activation": "silu", "d_ff": config["shared_intermediate_size"]}}


def _write(get: Get) -> Fields:
    return {"shared_intermediate_size": get("model.ffn.shared.d_ff")}


ARCHITECTURE = Architecture(
    names=("GraniteMoeSharedForCausalLM",),
    model_type="granitemoeshared",
    base={"model": {**BASE["model"], "residual": "scaled", "ffn": NODE}},
    fields=(*FIELDS, rope(partial=False), Custom(("shared_intermediate_size",), _read, _write)),
    tensors=(
        *(*EMBEDDED, *ATTENTION, *EXPERTS),
        Rule(
            "model.layers.{i}.shared_mlp.input_linear.weight",
            (stack("ffn.shared.gate.weight"), stack("ffn.shared.up.weight")),
            Rows(),
        ),
        Rule("model.layers.{i}.shared_mlp.output_linear.weight", stack("ffn.shared.out.weight")),
    ),
    free=FREE,
    **FILES,
)
