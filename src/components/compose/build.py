"""A part from Python, by name: its options are checked as a config's are, and so is whether the parts in it can work together. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.compose.check import check
from components.compose.hydra_node import TARGET, as_said, checked_node, plain
from components.compose.reading import read_tree
from components.core import registry
from components.core.config_types import part_name
from components.core.errors import UserError
from components.core.makers import ScopedMaker, make


def build(kind: str | Mapping[str, Any] = "", name: str = "", /, *, seed: int | None = None, **given: Any) -> Any:
    """Make the part ``kind/name`` from Python: sizes and options by name, each checked against the part's signature.

    ``build("attention", "gqa", d_model=512, n_heads=8, n_kv_heads=2)``. A socket takes any maker; nothing is held against a
    function or a class that is not registered.

    A model draws each weight from a generator of its own, seeded by ``seed`` (0 if left out) and the weight's name: ``torch.manual_seed`` changes
    nothing, and a swap leaves all other weights as they were. A part alone has what its torch modules draw from the global generator.

    It is the ``_target_`` of a Hydra config as well: ``{_target_: components.build, _recursive_: false, kind: attention, name: gqa, d_model: 512}``,
    which ``build(cfg.attention)`` takes too. Such a node is checked whole before anything is made; the path in a message begins with the kind.

    Raises:
        UserError: an unknown part, size or option, a value that the option does not allow, two parts that cannot work together, or a seed
            for what is no model.
    """
    where = ""
    if isinstance(kind, Mapping) or not kind or TARGET in given:
        node = {**plain(kind), **given} if isinstance(kind, Mapping) else given
        kind, name, given = checked_node(node | ({"kind": kind, "name": name} if isinstance(kind, str) and kind else {}))
        where, seed = kind, given.pop("seed", seed)
    given = {k: as_said(v) for k, v in given.items()}
    entry = registry.entry(kind, part_name({"name": name, **given}))
    if seed is not None and ("seed" in entry.signature.options or "seed" in entry.signature.sizes):
        given["seed"], seed = seed, None  # the part's own
    offers = {k: v for k, v in given.items() if k in registry.KINDS[kind].sizes or k in entry.signature.sizes}
    node = {"name": name, **{k: v for k, v in given.items() if k not in offers}}
    part = make(ScopedMaker(node, where=where), kind, **offers)
    check(read_tree({kind: node}))  # after: a name that is not there is the nearer fault
    if seed is not None:
        from components.core.weights import redraw  # torch, which whatever has weights has imported

        try:
            redraw(part, seed)
        except ValueError as e:
            raise UserError(f"{entry.label}.seed", str(e), "leave it out, or call torch.manual_seed before") from e
    return part
