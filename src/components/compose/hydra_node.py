"""A part out of somebody's Hydra config: its node without Hydra's words, held against the signatures, with the path in that config.

In such an app Hydra merges, so the options of a part that stood there before may still be in the node. They are refused like any option
that the part does not have. Imports neither torch nor Hydra.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from components.compose.check import check
from components.compose.reading import read_tree
from components.core import registry
from components.core.config_types import Config, part_name
from components.core.errors import UserError, nearest
from components.core.inheriting import INHERIT
from components.core.registry import Entry
from components.core.signature import REQUIRED, Option

TARGET, BUILD = "_target_", "components.build"
CONTROL = (TARGET, "_recursive_", "_convert_", "_partial_")  # what Hydra reads in a node
MISSING = "???"
# sizes that are numbers, which a config can say; any other is an object that the program gives
NUMBERS = {
    *("vocab_size", "d_model", "context_length", "total_steps", "n_layers", "n_heads", "n_kv_heads", "head_dim", "n_experts"),
    *("dim", "heads", "width", "base", "depth", "d_memory"),
}


def plain(value: Any) -> Any:
    """``value`` as plain data where it is a config of OmegaConf, its interpolations resolved; a missing value stays ``???``."""
    omegaconf = sys.modules.get("omegaconf")
    if omegaconf is not None and omegaconf.OmegaConf.is_config(value):
        return omegaconf.OmegaConf.to_container(value, resolve=True)
    return value


def is_ours(value: object) -> bool:
    """Is it a node that ``components.build`` builds?"""
    return isinstance(value, Mapping) and value.get(TARGET) == BUILD


def made_by_hydra(node: Mapping[str, object]) -> Callable[..., object]:
    """A maker of somebody's own class that a node in a socket names: a partial of it, made by Hydra, whose own rules say what it may name."""
    from hydra.utils import instantiate

    return instantiate({**node, "_partial_": True})


def unknown(node: Mapping[str, object]) -> Callable[..., object]:
    """The same where nothing is to be imported: a maker of which nothing is known."""

    def maker() -> object:
        return made_by_hydra(node)()

    return maker


def checked_node(node: Mapping[str, object]) -> tuple[str, str, Config]:
    """(kind, name, sizes and options) of a node that stands alone, its parts held against the signatures and against one another.

    Raises:
        UserError: what is wrong, with the path below the kind.
    """
    kind, said = part_of({k: plain(v) for k, v in node.items()}, "")
    check_part(kind, said, kind)
    return kind, said.pop("name"), said


def part_of(
    node: Mapping[str, object], where: str, foreign: Callable[[Mapping[str, object]], object] = made_by_hydra
) -> tuple[str, Config]:
    """(kind, name with sizes and options) of a node that stands alone.

    Args:
        node: plain data.
        where: its path in the config.
        foreign: makes a maker of a node in a socket whose ``_target_`` is somebody else's.

    Raises:
        UserError: it does not say which part it is.
    """
    rest = {k: v for k, v in node.items() if k not in CONTROL and not _is_missing(v)}
    for key in ("kind", "name"):
        if not isinstance(rest.get(key), str):
            instead = "such as kind: norm and name: rms"
            raise UserError(f"{where}.{key}".lstrip("."), f"a node of {BUILD} says its kind and its name", instead)
    return str(rest.pop("kind")), {name: as_said(value, foreign) for name, value in rest.items()}


def as_said(value: object, foreign: Callable[[Mapping[str, object]], object] = made_by_hydra) -> object:
    """What stands in a socket, as a part takes it: no config of OmegaConf, no word of Hydra's, and no missing size, which the parent gives."""
    value = plain(value)
    if isinstance(value, Mapping):
        if TARGET in value and not is_ours(value):
            return foreign(value)
        whole = is_ours(value)
        drop = (*CONTROL, "kind") if whole else ()
        rest = {k: v for k, v in value.items() if k not in drop and not (whole and k in NUMBERS and _is_missing(v))}
        return {k: as_said(v, foreign) for k, v in rest.items()}
    return [as_said(v, foreign) for v in value] if isinstance(value, list) else value


def _is_missing(value: object) -> bool:
    return isinstance(value, str) and value == MISSING


def check_part(kind: str, node: Mapping[str, object], where: str, *, complete: bool = True) -> None:
    """Hold a part's node and all below it against the signatures, then the parts against one another.

    Args:
        kind: of the part.
        node: its name, sizes and options.
        where: its path in the config.
        complete: what is required must be there.

    Raises:
        UserError: with the path of what is wrong.
    """
    own = options_of(kind, node, where)
    for name, value in node.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
        if name not in own and name in NUMBERS and value is not None and not number:
            raise UserError(f"{where}.{name}", f"{value!r} is no number above 0")
    _check(kind, own, where, complete)
    try:
        check(read_tree({kind: own}))
    except UserError as e:
        raise moved(e, kind, where) from None


def options_of(kind: str, node: Mapping[str, object], where: str = "") -> Config:
    """The node without the sizes, and without the seed that ``build`` itself takes."""
    entry = registry.entry(kind, part_name(node), where)
    sizes = {*registry.KINDS[kind].sizes, *entry.signature.sizes}
    return {k: v for k, v in node.items() if k not in sizes and (k != "seed" or k in entry.signature.options)}


def moved(error: UserError, kind: str, where: str) -> UserError:
    """The error of a part that was built alone, with the path in the whole config instead of the kind, at which alone it stood."""
    at = where + error.where.removeprefix(kind) if f"{error.where}.".startswith(f"{kind}.") else where
    said = error.what if at != where or error.where in (kind, where) else f"{error.where}: {error.what}"
    return UserError(at, said.replace(f" at {kind}.", f" at {where}."), error.instead)


def _check(kind: str, node: Mapping[str, object], where: str, complete: bool) -> None:
    entry = registry.entry(kind, part_name(node), where)
    for old, value in node.items():
        name = entry.renamed.get(old, old)
        path = f"{where}.{old}"
        if name in ("name", "preset"):
            continue
        option = entry.signature.options.get(name)
        if option is None:
            raise UserError(path, f"{entry.label} has no option {old!r}", _instead(entry, old, path))
        if _is_missing(value):
            continue
        if option.type.slices_layers and isinstance(value, Mapping):
            for which, sockets in value.items():
                for socket, part in sockets.items() if isinstance(sockets, Mapping) else ():
                    if (inner := entry.signature.options.get(socket)) is not None:
                        _check_socket(inner, part, f"{path}.{which}.{socket}", complete)
        elif option.type.kind is not None:
            _check_socket(option, value, path, complete)
        elif fault := option.type.fault(value):
            raise UserError(path, fault)
    given = {entry.renamed.get(k, k) for k, v in node.items() if not _is_missing(v)}
    for name, option in entry.signature.options.items() if complete else ():
        if option.default == REQUIRED and name not in given:
            raise UserError(f"{where}.{name}", f"{entry.label} needs it", f"give {option.type.described() or option.type.text}")


def _check_socket(option: Option, value: object, where: str, complete: bool) -> None:
    kind = option.type.kind or ""
    if option.type.many and isinstance(value, Sequence) and not isinstance(value, str):
        for i, part in enumerate(value):
            _check_one(kind, part, f"{where}.{i}", complete)
    else:
        _check_one(kind, value, where, complete)


def _check_one(kind: str, value: object, where: str, complete: bool) -> None:
    if isinstance(value, str):
        if value not in (INHERIT, MISSING):
            registry.entry(kind, value, where)
    elif isinstance(value, Mapping):
        if not isinstance(value.get("name"), str):
            raise UserError(
                where,
                f"a {kind} is a name or a mapping with a name, not {dict(value)!r}",
                nearest("", registry.names(kind), called=f"{kind} parts"),
            )
        _check(kind, value, where, complete)
    elif isinstance(value, (bool, int, float, list)):
        raise UserError(where, f"{value!r} is no {kind}", nearest("", registry.names(kind), called=f"{kind} parts"))


def _instead(entry: Entry, name: str, path: str) -> str:
    """What to do about an option that the part does not have: of a part that stood there before, or mistyped."""
    others = [n for (_, n), e in registry.entries(entry.kind).items() if name in e.signature.options]
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        return f"an option of {', '.join(others[:3])}{more}: take it out where it is said, or add ~{path}"
    return nearest(name, entry.signature.options, called=f"options of {entry.label}")
