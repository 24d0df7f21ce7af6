"""What the descendants of Mamba share: names of its tensors, and the rank of dt."""

from __future__ import annotations

from components.interop.architecture import SAME, Rule
from components.interop.architectures._common import stack
from components.interop.architectures._layers import layers_of
from components.interop.fields import Custom, Fields, Get, Options, Theirs
from components.interop.layouts import Layout, Reshaped, Rows


def _rule(theirs: str, ours: tuple[str, ...], layout: Layout = SAME) -> Rule:
    return Rule(
        theirs, tuple(stack(f"attention.{n}") for n in ours), layout, layers=lambda get: layers_of(get, "attention", "mamba")
    )


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
