"""What the descendants of Llama's code share: sizes, rotary positions, names of projections."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from components.interop.architecture import SAME, Rule
from components.interop.fields import (
    REQUIRED,
    Custom,
    Field,
    Fields,
    Get,
    Mapped,
    Node,
    Options,
    Same,
    Theirs,
    Unsupported,
    value_of,
)
from components.interop.layouts import Layout

LAYER = "stack.layers.{i}.block."


def stack(name: str) -> str:
    """Our name for something in every layer's block."""
    return LAYER + name


def in_each(layer: str, table: Mapping[str, str], form: Layout = SAME) -> tuple[Rule, ...]:
    """A rule for each row of a table {their module: our module}, in every layer: ``in_each("model.layers.{i}.", {"mlp.fc1": "ffn.up"})``."""
    return tuple(Rule(f"{layer}{theirs}.{{p}}", stack(f"{ours}.{{p}}"), form) for theirs, ours in table.items())


def decoder_sizes() -> tuple[Field, ...]:
    return (
        Same("vocab_size", "vocab_size"),
        Same("hidden_size", "model.d_model"),
        Same("num_hidden_layers", "model.n_layers"),
        Same("max_position_embeddings", "model.context_length"),
        Same("num_attention_heads", "model.attention.n_heads"),
        Same("intermediate_size", "model.ffn.d_ff"),
    )


def _read_head_dim(config: Theirs) -> Options:
    return {"model.attention.head_dim": config.get("head_dim")}


def _write_head_dim(get: Get) -> Fields:
    width = get("model.attention.head_dim")
    return {} if width is None else {"head_dim": width}


HEAD_DIM = Custom(("head_dim",), _read_head_dim, _write_head_dim)


def head_dim(default: int) -> Custom:
    """The width of a head, for classes with a fixed default instead of a derived one."""

    def read(config: Theirs) -> Options:
        return {"model.attention.head_dim": value_of(config, "head_dim", default)}

    def write(get: Get) -> Fields:
        return {"head_dim": get("model.attention.head_dim") or get("model.d_model") // get("model.attention.n_heads")}

    return Custom(("head_dim",), read, write)


def tied(default: bool) -> Mapped:
    return Mapped("tie_word_embeddings", "model.head.name", {False: "linear", True: "tied"}, default)


TIED = tied(False)


def either(names: tuple[str, ...], ours: str, default: object = REQUIRED) -> Custom:
    """A value whose name changed over time. All ``names`` are read; the first is written."""

    def read(config: Theirs) -> Options:
        return {ours: value_of(config, next((n for n in names if n in config), names[0]), default)}

    return Custom(names, read, lambda get: {names[0]: get(ours)})


def unused(theirs: str, *values: object) -> Custom:
    """A field that has no effect when it has one of these values. Other values are refused."""

    def read(config: Theirs) -> Options:
        if (value := config.get(theirs)) not in (None, *values):
            raise Unsupported(f"{theirs}={value!r}: only {', '.join(map(repr, values)) or 'null'} is supported")
        return {}

    return Custom((theirs,), read, lambda get: {})  # noqa: ARG005  the contract's argument


# of classes whose own padding token lies beyond small vocabularies; a tokenizer that comes along says which it is
PADDING = Custom(("pad_token_id",), lambda config: {}, lambda get: {"pad_token_id": None})  # noqa: ARG005  the contract's arguments

ORIGINAL = "original_max_position_embeddings"
# rope_type: our scaling, the names of its options, those that the class cannot do without
SCALINGS: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    "default": ("none", {}, ()),
    "linear": ("linear", {"factor": "factor"}, ("factor",)),
    "dynamic": ("dynamic_ntk", {"factor": "factor"}, ("factor",)),
    "yarn": (
        "yarn",
        {
            "factor": "factor",
            ORIGINAL: "original_context",
            **{n: n for n in ("beta_fast", "beta_slow", "truncate", "attention_factor", "mscale", "mscale_all_dim")},
        },
        ("factor",),
    ),
    "llama3": (
        "llama3",
        {**{n: n for n in ("factor", "low_freq_factor", "high_freq_factor")}, ORIGINAL: "original_context"},
        ("factor",),
    ),
    "longrope": (
        "longrope",
        {**{n: n for n in ("short_factor", "long_factor", "factor", "attention_factor")}, ORIGINAL: "original_context"},
        ("short_factor", "long_factor"),
    ),
    "proportional": ("proportional", {"partial_rotary_factor": "fraction", "factor": "divisor"}, ()),
}


def read_rope(parameters: Theirs, prefix: str = "model.position", theta: float = 10000.0) -> Options:
    """The options of a rope position, from ``rope_parameters``."""
    given = {n: v for n, v in parameters.items() if v is not None}
    older = given.pop("type", "default")
    kind = given.pop("rope_type", older)
    if kind not in SCALINGS:
        raise Unsupported(f"rope_type={kind!r}: there are {', '.join(SCALINGS)}")
    ours, names, _ = SCALINGS[kind]
    made: dict[str, Any] = {f"{prefix}.base": float(given.pop("rope_theta", theta))}
    if "partial_rotary_factor" in given and "partial_rotary_factor" not in names:
        made[f"{prefix}.fraction"] = given.pop("partial_rotary_factor")
    if kind == "default":
        given.pop(ORIGINAL, None)  # says nothing where nothing is stretched
    if unknown := [n for n in given if n not in names]:
        raise Unsupported(f"rope_parameters: {', '.join(unknown)} of {kind} is not known")
    if ours != "none":
        made[f"{prefix}.scaling"] = {"name": ours, **{names[n]: v for n, v in given.items()}}
    return made


def write_rope(node: Node | str | None) -> Fields:
    """``rope_parameters`` for a rope position."""
    if not isinstance(node, dict) or node.get("name") != "rope":
        raise Unsupported(f"position {node if isinstance(node, str) else (node or {}).get('name')}: it has rope")
    scaling = node.get("scaling") or {"name": "none"}
    scaling = {"name": scaling} if isinstance(scaling, str) else scaling
    kind = next((k for k, (ours, *_) in SCALINGS.items() if ours == scaling["name"]), None)
    if kind is None:
        raise Unsupported(f"scaling {scaling['name']} has no name in rope_parameters")
    _, names, needed = SCALINGS[kind]
    if missing := [names[n] for n in needed if not scaling.get(names[n])]:
        raise Unsupported(f"scaling {scaling['name']} without {', '.join(missing)}: {kind} needs the numbers themselves")
    values = {theirs: scaling.get(ours) for theirs, ours in names.items()}
    made = {"rope_type": kind, "rope_theta": node["base"]}
    made |= {n: list(v) if isinstance(v, tuple) else v for n, v in values.items() if v is not None}
    return made if node.get("fraction", 1.0) == 1.0 else {**made, "partial_rotary_factor": node["fraction"]}


def flat_rope(config: Theirs, theta: float) -> Fields:
    """``rope_parameters`` (transformers 5) or the older separate fields, completed with defaults as the class does it."""
    made = {n: v for n, v in (config.get("rope_scaling") or config.get("rope_parameters") or {}).items() if v is not None}
    made.setdefault("rope_theta", value_of(config, "rope_theta", theta) or theta)
    if config.get("partial_rotary_factor") is not None:
        made.setdefault("partial_rotary_factor", config["partial_rotary_factor"])
    if config.get(ORIGINAL) is not None and made.get("rope_type", made.get("type")) in ("llama3", "yarn", "longrope"):
        made[ORIGINAL] = config[ORIGINAL]
    return made


def rope(
    theta: float = 10000.0, *, partial: bool = True, share: float = 1.0, older: Mapping[str, str] = MappingProxyType({})
) -> Custom:
    """The position of all layers.

    Args:
        theta: the class's default base.
        partial: whether the class can rotate only a share of the channels.
        share: the class's default share.
        older: {name in older files: name today}.
    """

    def checked(made: Fields, found: float | None) -> Fields:
        if not partial and found not in (None, 1.0):
            raise Unsupported(f"partial_rotary_factor={found}: the class turns all channels")
        return made

    def read(config: Theirs) -> Options:
        config = {**{now: config[n] for n, now in older.items() if n in config}, **config}
        parameters = flat_rope(config, theta)
        if share != 1.0:
            parameters.setdefault("partial_rotary_factor", share)
        made = read_rope(parameters)
        return checked(made, made.get("model.position.fraction"))

    def write(get: Get) -> Fields:
        made = write_rope(get("model.position"))
        if share != 1.0:
            made.setdefault("partial_rotary_factor", 1.0)
        return checked({"rope_parameters": made}, get("model.position.fraction"))

    return Custom((*ROPE_FIELDS, *older), read, write)


ROPE_FIELDS = ("rope_parameters", "rope_theta", "rope_scaling", "partial_rotary_factor", ORIGINAL)
ROPE = (rope(),)

# of a model that reads images too: how files call its text model's tensors, old and new, and what else they have
IN_IMAGES: dict[str, Any] = {
    "renamed": {"language_model.model.": "model.", "model.language_model.": "model.", "language_model.lm_head.": "lm_head."},
    "left": tuple(f"{m}{n}.*" for m in ("", "model.") for n in ("vision_tower", "vision_model", "multi_modal_projector")),
}

ATTENTION = tuple(
    Rule(f"model.layers.{{i}}.self_attn.{theirs}.{{p}}", stack(f"attention.{ours}.{{p}}"))
    for theirs, ours in (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("o_proj", "out"))
)
GLU = tuple(
    Rule(f"model.layers.{{i}}.mlp.{theirs}.{{p}}", stack(f"ffn.{ours}.{{p}}"))
    for theirs, ours in (("gate_proj", "gate"), ("up_proj", "up"), ("down_proj", "out"))
)
