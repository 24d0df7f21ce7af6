"""What the descendants of Mamba and Mamba-2 share: names of their tensors, their sizes, and the rank of dt."""

from __future__ import annotations

from components.interop.architecture import SAME, Rule
from components.interop.architectures._common import stack
from components.interop.architectures._layers import layers_of, option
from components.interop.fields import Custom, Fields, Get, Node, Options, Theirs, Unsupported, value_of
from components.interop.layouts import Convolutions, Flat, Layout, Reshaped, Rows

AROUND = (  # the mixers and feed-forwards of hybrids
    Rule("model.embed_tokens.weight", "embedding.table.weight"),
    Rule("model.final_layernorm.weight", "stack.final_norm.weight"),
    Rule("lm_head.weight", "head.logits.weight"),
    Rule("model.layers.{i}.input_layernorm.weight", stack("attention_norm.weight")),
    Rule("model.layers.{i}.pre_ff_layernorm.weight", stack("ffn_norm.weight")),
)


def _rule(theirs: str, ours: tuple[str, ...], layout: Layout = SAME, of: str = "mamba", within: str = "attention") -> Rule:
    return Rule(theirs, tuple(stack(f"{within}.{n}") for n in ours), layout, layers=lambda get: layers_of(get, "attention", of))


def mixer(where: str) -> tuple[Rule, ...]:
    """The tensors of a mixer that is called ``where``."""
    same = {
        "dt_proj.weight": "dt_up.weight",
        "dt_proj.bias": "dt_bias",
        "out_proj.{p}": "out.{p}",
        "conv1d.bias": "x_conv.bias",
        "A_log": "A_log",
        "D": "D",
    }
    return (
        _rule(f"{where}.in_proj.{{p}}", ("x.{p}", "z.{p}"), Rows()),
        _rule(f"{where}.conv1d.weight", ("x_conv.taps",), Reshaped((-1, 1, -1))),
        _rule(f"{where}.x_proj.weight", ("dt_down.weight", "B.weight", "C.weight"), Rows()),
        *(_rule(f"{where}.{theirs}", (ours,)) for theirs, ours in same.items()),
    )


def rank_of(config: Theirs, name: str) -> int | None:
    """The width of what dt is made from; None: a sixteenth of the stream."""
    rank = config.get(name, "auto")
    return None if rank == "auto" else rank


def rank(theirs: str) -> Custom:
    """The same, where all layers have a Mamba."""

    def read(config: Theirs) -> Options:
        return {"model.attention.dt_rank": rank_of(config, theirs)}

    def write(get: Get) -> Fields:
        return {theirs: get("model.attention.dt_rank") or "auto"}

    return Custom((theirs,), read, write)


SIZES = {  # of a Mamba-2 among layers of attention; theirs: (ours, of the class)
    "mamba_n_heads": ("n_heads", 128),
    "mamba_expand": ("expand", 2),
    "mamba_d_state": ("state_size", 256),
    "mamba_n_groups": ("n_groups", 1),
    "mamba_d_conv": ("conv_size", 4),
    "mamba_conv_bias": ("conv_bias", True),
    "mamba_proj_bias": ("bias", False),
}
SIZE_FIELDS = ("mamba_d_head", "time_step_limit", *SIZES)
UNLIMITED = (float("inf"), {"__float__": "Infinity"})


def limit_of(config: Theirs) -> tuple[float, float] | None:
    """Between which dt is clamped; None: it is not."""
    limit = config.get("time_step_limit")
    if limit is None or (limit[0] == 0 and limit[1] in UNLIMITED):
        return None
    return limit[0], float("inf") if limit[1] in UNLIMITED else limit[1]


def read_mamba2(config: Theirs, eps: float) -> Node:
    """A Mamba-2 of these sizes. ``eps``: of the class's norms."""
    sizes = {ours: value_of(config, theirs, default) for theirs, (ours, default) in SIZES.items()}
    width, inner = config.get("mamba_d_head", "auto"), sizes["expand"] * config["hidden_size"]
    if width not in (None, "auto") and width * sizes["n_heads"] != inner:
        raise Unsupported(f"mamba_d_head={width}: {sizes['n_heads']} heads have to be {inner} wide together")
    if limit_of(config) is not None:
        raise Unsupported(f"time_step_limit={config['time_step_limit']!r}: only from 0 without end is supported")
    return {"name": "mamba2", **sizes, "output_norm": {"name": "rms", "eps": value_of(config, "rms_norm_eps", eps)}}


def write_mamba2(get: Get) -> Fields:
    sizes = {theirs: option(get, "attention", "mamba2", ours, default) for theirs, (ours, default) in SIZES.items()}
    inner = sizes["mamba_expand"] * get("model.d_model")
    if int(sizes["mamba_expand"]) != sizes["mamba_expand"] or inner % sizes["mamba_n_heads"]:
        raise Unsupported(f"expand={sizes['mamba_expand']}: its class has whole numbers, and heads of one width")
    return {**sizes, "mamba_expand": int(sizes["mamba_expand"]), "mamba_d_head": int(inner) // sizes["mamba_n_heads"]}


def mixer2(where: str, ours: str = "attention", holder: str = "mamba2") -> tuple[Rule, ...]:
    """The tensors of a Mamba-2 that is called ``where``, and here ``ours``, in layers whose attention is a ``holder``."""
    parts = (
        ("in_proj.{p}", "z.{p} x.{p} B.{p} C.{p} dt.{p}", Rows()),
        ("conv1d.weight", "x_conv.taps B_conv.taps C_conv.taps", Convolutions()),
    )
    same = (("A_log", "A_log"), ("dt_bias", "dt_bias"), ("D", "D"), ("out_proj.{p}", "out.{p}"))
    table = (
        *parts,
        ("conv1d.bias", "x_conv.bias B_conv.bias C_conv.bias", Rows()),
        ("norm.weight", "output_norm.weight", Flat()),
        *((theirs, mine, SAME) for theirs, mine in same),
    )
    return tuple(_rule(f"{where}.{theirs}", tuple(mine.split()), form, holder, ours) for theirs, mine, form in table)
