"""A window on every layer, on some of them by ``layer_types``, and a rotary base for each kind of layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from components.interop.architectures._common import flat_rope, read_rope, write_rope
from components.interop.architectures._layers import each_layer, in_layers
from components.interop.fields import Custom, Fields, Get, Node, Options, Theirs, Unsupported, value_of

KINDS = ("sliding_attention", "full_attention")
SLIDING, FULL = KINDS


def every_layer(default: int | None) -> Custom:
    """``sliding_window`` of all layers, null for none."""

    def read(config: Theirs) -> Options:
        window = value_of(config, "sliding_window", default)
        return {} if window is None else {"model.attention.mask": _mask(window)}

    def write(get: Get) -> Fields:
        return {"sliding_window": _window(get("model.attention.mask"))}

    return Custom(("sliding_window",), read, write)


def every(period: int) -> Callable[[Theirs], list[str]]:
    """The default kinds of layers: the last of every ``period`` layers sees everything, the others see a window."""
    return lambda config: [SLIDING if (i + 1) % period else FULL for i in range(config["num_hidden_layers"])]


def by_layer(
    unsaid: Callable[[Theirs], list[str]],
    window: int | None,
    *names: str,
    bases: tuple[float, float] | None = None,
    still: Callable[[int | None], bool] = lambda _: False,
    more: Callable[[Theirs, list[str]], Mapping[str, Node]] = lambda *_: {},
) -> Custom:
    """The field ``layer_types``. The more frequent kind becomes the model's own; the other layers are named under ``layers``.

    Args:
        unsaid: gives the kinds if ``layer_types`` is absent.
        window: the class's default.
        names: the fields that ``unsaid`` reads.
        still: whether layers that see everything do not rotate, by the class's ``sliding_window``.
        bases: the rotary bases of sliding and full layers; ``rope_parameters`` then has an entry for each kind of layer.
        more: from a config.json and the kinds of its layers, further options of the attention of each kind; other fields write them.
    """

    def read(config: Theirs) -> Options:
        types = config.get("layer_types") or unsaid(config)
        if unknown := sorted(set(types) - set(KINDS)):
            raise Unsupported(f"layer_types: {', '.join(unknown)} is not known, there are {', '.join(KINDS)}")
        wide = value_of(config, "sliding_window", window)
        if SLIDING in types and wide is None:
            raise Unsupported("sliding_window=None, and layer_types has sliding_attention")
        nodes: dict[str, dict[str, Any]] = {SLIDING: {"mask": _mask(wide)}, FULL: {"mask": "full"}}
        for kind, node in more(config, types).items():
            nodes[kind] |= node
        most, few = (SLIDING, FULL) if types.count(SLIDING) > types.count(FULL) else (FULL, SLIDING)
        others = [i for i, kind in enumerate(types) if kind == few]
        made = {f"model.attention.{n}": v for n, v in nodes[most].items()}
        made |= in_layers(others, len(types), "attention", nodes[few])
        if still(wide):
            made |= in_layers([i for i, kind in enumerate(types) if kind == FULL], len(types), "position", "none")
        if bases is not None:
            ropes = both_ropes(config, bases)
            made |= {f"model.position.{n}": v for n, v in ropes[most].items()}
            if ropes[few] != ropes[most]:
                made |= in_layers(others, len(types), "position", ropes[few])
        return made

    def write(get: Get) -> Fields:
        windows = [_window(node.get("mask")) for node in each_layer(get, "attention")]
        types = [KINDS[w is None] for w in windows]
        turns = "none" not in (node.get("name") for node in each_layer(get, "position"))
        unused = None if turns and still(window) else window
        made: dict[str, Any] = {"layer_types": types, "sliding_window": next((w for w in windows if w is not None), unused)}
        if bases is not None:
            positions = dict(zip(types, each_layer(get, "position"), strict=True))
            made["rope_parameters"] = {kind: write_rope(node) for kind, node in positions.items()}
        return made

    ropes = ("rope_parameters", "rope_theta", "rope_scaling") if bases is not None else ()
    return Custom(("layer_types", "sliding_window", *names, *ropes), read, write)


def both_ropes(config: Theirs, bases: tuple[float, float]) -> dict[str, Node]:
    """The rope options for each kind of layer. Before transformers 5 only full layers had a scaling."""
    given = config.get("rope_parameters") or {}
    sliding = given.get(SLIDING) or {"rope_theta": config.get("rope_local_base_freq", bases[0])}
    full = given.get(FULL) or flat_rope({**config, "rope_parameters": None}, bases[1])
    if False in (sliding.get("truncate"), full.get("truncate")):
        raise Unsupported("truncate=False: the class does not read it of one kind of layer")
    found = {SLIDING: read_rope(sliding, "", bases[0]), FULL: read_rope(full, "", bases[1])}
    for options in found.values():
        if options.get(".fraction", 1.0) != 1.0:
            raise Unsupported(f"partial_rotary_factor={options['.fraction']}: the class turns all channels")
    return {kind: {"scaling": "none", **{n.lstrip("."): v for n, v in options.items()}} for kind, options in found.items()}


def _mask(window: int | None) -> Node:
    return {"name": "sliding_window", "window": window}


def _window(mask: Node | str | None) -> int | None:
    node: Node = mask if isinstance(mask, dict) else {"name": mask}
    name = node.get("name")
    if name not in (None, "full", "sliding_window"):
        raise Unsupported(f"mask {name}: it has sliding_window and full")
    return node["window"] if name == "sliding_window" else None
