"""Granite 4 hybrids (IBM 2025): Mamba-2 in most layers, attention in a few, a shared FFN beside the experts or alone.

Positions are rotated only where ``position_embedding_type`` is "rope". The norm after Mamba-2 is over each group, as the class has it.
"""

from __future__ import annotations

from typing import Any

from components.interop.architecture import Architecture, Rule
from components.interop.architectures._common import ATTENTION, ROPE_FIELDS, rope, stack
from components.interop.architectures._granite import EXPERTS, FIELDS, NODE
from components.interop.architectures._layers import in_layers, layers_of
from components.interop.architectures._mamba import SIZE_FIELDS, mixer2, read_mamba2, write_mamba2
from components.interop.architectures._moe import EMBEDDED, FREE
from components.interop.fields import Constant, Custom, Fields, Get, Node, Options, Same, Theirs, Unsupported
from components.interop.layouts import Rows

ROPE = rope(partial=False)
LAYER_FIELDS = ("layer_types", "layers_block_type", "rms_norm_eps", *SIZE_FIELDS)
KINDS = {"mamba": True, "linear_attention": True, "attention": False, "full_attention": False}  # whether it is Mamba-2


def _read_layers(config: Theirs) -> Options:
    n_layers = config["num_hidden_layers"]
    types = config.get("layer_types") or config.get("layers_block_type") or ["mamba"] * n_layers
    if unknown := sorted(set(types) - set(KINDS)):
        raise Unsupported(f"layer_types: {', '.join(unknown)} is not known, there are {', '.join(KINDS)}")
    mamba = [i for i, t in enumerate(types) if KINDS[t]]
    made = in_layers(mamba, n_layers, "attention", read_mamba2(config, 1e-6))
    # a Mamba-2 turns nothing
    return made | (in_layers(mamba, n_layers, "position", "none") if config.get("position_embedding_type") == "rope" else {})


def _write_layers(get: Get) -> Fields:
    mamba = layers_of(get, "attention", "mamba2")
    return {**write_mamba2(get), "layer_types": ["mamba" if i in mamba else "attention" for i in range(get("model.n_layers"))]}


def _read_position(config: Theirs) -> Options:
    kind = config.get("position_embedding_type")
    if kind not in (None, "rope", "nope"):
        raise Unsupported(f"position_embedding_type={kind!r}: there are 'rope' and 'nope'")
    return {"model.position.layout": "half", **ROPE.read(config)} if kind == "rope" else {"model.position.name": "none"}


def _write_position(get: Get) -> Fields:
    turned = (get("model.position.name") or get("model.position")) == "rope"
    return {"position_embedding_type": "rope", **ROPE.write(get)} if turned else {"position_embedding_type": None}


def _shared(where: str, dims: int | None = None) -> tuple[Rule, ...]:
    both = tuple(stack(f"{where}.{n}.weight") for n in ("gate", "up"))
    return (
        Rule("model.layers.{i}.shared_mlp.input_linear.weight", both, Rows(), dims=dims),
        Rule("model.layers.{i}.shared_mlp.output_linear.weight", stack(f"{where}.out.weight"), dims=dims),
    )


def _base(ffn: Node) -> Node:
    parts = {"position": {"name": "rope"}, "norm": "rms", "block": "pre_norm", "attention": "gqa", "residual": "scaled"}
    return {"model": {"name": "decoder", **parts, "ffn": ffn}}


OWN = (
    Custom(LAYER_FIELDS, _read_layers, _write_layers),
    Custom((*ROPE_FIELDS, "position_embedding_type"), _read_position, _write_position),
)
TENSORS = (
    *EMBEDDED,
    *mixer2("model.layers.{i}.mamba"),
    *ATTENTION,
)
FILES: dict[str, Any] = {
    "free": FREE | {"mamba_chunk_size", "normalization_function", "init_method"},
    "prefix": "model.",
    "copies": {"lm_head.weight": "model.embed_tokens.weight"},
}
GLU = {"name": "glu", "activation": "silu"}
WITH_EXPERTS = Architecture(
    names=("GraniteMoeHybridForCausalLM",),
    model_type="granitemoehybrid",
    base=_base({**NODE, "shared": GLU}),
    fields=(*FIELDS, *OWN, Same("shared_intermediate_size", "model.ffn.shared.d_ff", 1024)),
    tensors=(*TENSORS, *EXPERTS, *_shared("ffn.shared")),
    fits=lambda config: config.get("num_local_experts", 8) != 0,
    **FILES,
)
_ABSENT = ("num_local_experts", "num_experts_per_tok", "intermediate_size")
WITHOUT = Architecture(
    names=("GraniteMoeHybridForCausalLM",),
    model_type="granitemoehybrid",
    base=_base(GLU),
    fields=(
        *(f for f in FIELDS if not set(f.names) & set(_ABSENT)),
        *OWN,
        Constant("num_local_experts", 0),
        Same("shared_intermediate_size", "model.ffn.d_ff", 1024),
    ),
    tensors=(*TENSORS, *_shared("ffn", dims=2)),
    fits=lambda config: config.get("num_local_experts", 8) == 0,
    **{**FILES, "free": FILES["free"] | {"num_experts_per_tok", "intermediate_size"}},
)
ARCHITECTURE = (WITH_EXPERTS, WITHOUT)
