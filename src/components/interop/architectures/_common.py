"""What the descendants of Llama's code share: sizes, rotary positions, names of projections."""

from __future__ import annotations

from typing import Any

from components.interop.architecture import Rule
from components.interop.fields import Computed, Field, Get, Same, Theirs, Unsupported, Word, value_of

LAYER = "stack.layers.{i}.block."


def stack(name: str) -> str:
    """Our name of something in every layer's block."""
    return LAYER + name


def decoder_sizes() -> tuple[Field, ...]:
    return (
        Same("vocab_size", "vocab_size"),
        Same("hidden_size", "model.d_model"),
        Same("num_hidden_layers", "model.n_layers"),
        Same("max_position_embeddings", "model.context_length"),
        Same("num_attention_heads", "model.attention.n_heads"),
        Same("intermediate_size", "model.ffn.d_ff"),
    )


def _read_head_dim(config: Theirs) -> dict[str, Any]:
    return {"model.attention.head_dim": config.get("head_dim")}


def _write_head_dim(get: Get) -> dict[str, Any]:
    width = get("model.attention.head_dim")
    return {} if width is None else {"head_dim": width}


HEAD_DIM = Computed(("head_dim",), _read_head_dim, _write_head_dim)
TIED = Word("tie_word_embeddings", "model.head.name", {False: "linear", True: "tied"}, False)

# rope_parameters (transformers 5) or rope_theta and rope_scaling before; the names of our options for each scaling
SCALINGS: dict[str, tuple[str, dict[str, str]]] = {
    "default": ("none", {}),
    "linear": ("linear", {"factor": "factor"}),
    "yarn": (
        "yarn",
        {
            "factor": "factor",
            "original_max_position_embeddings": "original_context",
            **{n: n for n in ("beta_fast", "beta_slow", "truncate", "attention_factor", "mscale", "mscale_all_dim")},
        },
    ),
    "llama3": (
        "llama3",
        {
            "factor": "factor",
            "low_freq_factor": "low_freq_factor",
            "high_freq_factor": "high_freq_factor",
            "original_max_position_embeddings": "original_context",
        },
    ),
}


def read_rope(parameters: dict[str, Any], prefix: str = "model.position") -> dict[str, Any]:
    """Options of a rope position from one ``rope_parameters``."""
    parameters = dict(parameters)
    kind = parameters.pop("rope_type", parameters.pop("type", "default"))
    if kind not in SCALINGS:
        raise Unsupported(f"rope_type={kind!r}: there are {', '.join(SCALINGS)}")
    ours, names = SCALINGS[kind]
    made = {f"{prefix}.base": float(parameters.pop("rope_theta", 10000.0))}
    if "partial_rotary_factor" in parameters:
        made[f"{prefix}.fraction"] = parameters.pop("partial_rotary_factor")
    if unknown := [n for n in parameters if n not in names]:
        raise Unsupported(f"rope_parameters: {', '.join(unknown)} of {kind} is not known")
    if ours != "none":
        made[f"{prefix}.scaling"] = {"name": ours, **{names[n]: v for n, v in parameters.items()}}  # type: ignore[assignment]
    return made


def _read(config: Theirs) -> dict[str, Any]:
    parameters = config.get("rope_parameters")
    if parameters is None:
        parameters = {"rope_theta": value_of(config, "rope_theta", 10000.0), **(config.get("rope_scaling") or {})}
    return read_rope(parameters)


def write_rope(node: dict[str, Any]) -> dict[str, Any]:
    scaling = node.get("scaling") or {"name": "none"}
    scaling = {"name": scaling} if isinstance(scaling, str) else scaling
    kind = next((k for k, (ours, _) in SCALINGS.items() if ours == scaling["name"]), None)
    if kind is None:
        raise Unsupported(f"scaling {scaling['name']} has no name in rope_parameters")
    names = {ours: theirs for theirs, ours in SCALINGS[kind][1].items()}
    made = {"rope_type": kind, "rope_theta": node["base"], **{names[n]: v for n, v in scaling.items() if n in names and v is not None}}
    return made if node.get("fraction", 1.0) == 1.0 else {**made, "partial_rotary_factor": node["fraction"]}


def _write(get: Get) -> dict[str, Any]:
    node = get("model.position")
    if not isinstance(node, dict) or node.get("name") != "rope":
        raise Unsupported(f"position {node if isinstance(node, str) else (node or {}).get('name')}: it has rope")
    return {"rope_parameters": write_rope(node)}


ROPE = (Computed(("rope_parameters", "rope_theta", "rope_scaling"), _read, _write),)

ATTENTION = tuple(
    Rule(f"model.layers.{{i}}.self_attn.{theirs}.{{p}}", stack(f"attention.{ours}.{{p}}"))
    for theirs, ours in (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("o_proj", "out"))
)
GLU = tuple(
    Rule(f"model.layers.{{i}}.mlp.{theirs}.{{p}}", stack(f"ffn.{ours}.{{p}}"))
    for theirs, ours in (("gate_proj", "gate"), ("up_proj", "up"), ("down_proj", "out"))
)
