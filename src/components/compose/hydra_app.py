"""``components.hydra``: our parts in somebody's own Hydra app, checked before anything is built, with the paths of the app's config.

@hydra.main(version_base="1.3", config_path="configs", config_name="train")
@components.hydra.checked
def main(config): ...
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import TypeVar, cast

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, MissingMandatoryValue, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from components.compose.check import check as check_parts
from components.compose.hydra_config import chosen_by_a_run
from components.compose.hydra_node import BUILD, TARGET, check_part, is_ours, moved, options_of, part_of, unknown
from components.compose.reading import read_tree
from components.core import terminal
from components.core.config_types import Config
from components.core.errors import UserError

T = TypeVar("T")


class Refused(CompactHydraException):
    """A mistake in a job of a sweep, in one line: the sweeper decides whether the other jobs go on."""


def check(config: DictConfig) -> None:
    """Hold every node of ``components.build`` in an app's config against the signatures, and the parts against one another.

    Reads signatures and imports no part. What is missing (``???``) may still be given to ``instantiate``, so it is not refused here.

    Raises:
        UserError: the first node that cannot be built, or two that cannot work together, with the path in the config.
    """
    alone: dict[str, list[tuple[str, Config]]] = {}
    for path, node in _nodes(config, ""):
        try:
            held = cast(Config, OmegaConf.to_container(node, resolve=True))
        except OmegaConfBaseException as e:
            raise UserError(e.full_key or path, str(e).splitlines()[0]) from None
        kind, part = part_of(held, path, unknown)
        check_part(kind, part, path, complete=False)
        alone.setdefault(kind, []).append((path, options_of(kind, part)))
    _check_together({kind: found[0] for kind, found in alone.items() if len(found) == 1 and kind in chosen_by_a_run()})


def _check_together(parts: dict[str, tuple[str, Config]]) -> None:
    """Do the model, the loss, the data ... of an app go together, of those that it has from us?"""
    try:
        check_parts(read_tree({kind: part for kind, (_, part) in parts.items()}), whole=False)
    except UserError as e:
        kind = e.where.split(".")[0]
        error = moved(e, kind, parts[kind][0])
        what = re.sub(r" at (\w+)\b", lambda m: f" at {parts[m[1]][0]}" if m[1] in parts else m[0], error.what)
        raise UserError(error.where, what, error.instead) from None


def checked(main: Callable[[DictConfig], T]) -> Callable[[DictConfig], T]:
    """``main`` of a Hydra app, to stand below ``@hydra.main``: its config is checked first, and a mistake in it is one line.

    So is what ``instantiate`` refuses within ``main``. The program then ends with exit code 2; a job of a sweep raises instead.
    """

    @functools.wraps(main)
    def run(config: DictConfig) -> T:
        try:
            check(config)
            return main(config)
        except UserError as e:
            error = _in_app(e, "\n".join(vars(e).get("__notes__", ())), config)
        except InstantiationException as e:
            if not isinstance(e.__cause__, UserError):
                raise
            error = _in_app(e.__cause__, str(e), config)
        except MissingMandatoryValue as e:
            error = UserError(
                e.full_key or "config", "has no value, and none was given", "write it in a config, or on the command line"
            )
        if HydraConfig.initialized() and HydraConfig.get().mode != RunMode.MULTIRUN:
            terminal.complain(error.line())
            raise SystemExit(error.exit_code)
        raise Refused(error.line()) from error

    return run


def _in_app(error: UserError, said: str, config: DictConfig) -> UserError:
    """The error of a node of ours with its path in the app's config, which Hydra says in its message, or from 1.4 on in a note of the error."""
    key = re.search(r"^full_key: (\S+)$", said, re.M)
    node = OmegaConf.select(config, key[1]) if key else None
    return moved(error, str(node["kind"]), key[1]) if key and node is not None and is_ours(node) else error


def _nodes(config: DictConfig | ListConfig, path: str) -> Iterator[tuple[str, DictConfig]]:
    """Our nodes in a config, the outermost only, with their paths. What an interpolation leads to is met where it stands."""
    keys = cast("list[str]", [*config] if isinstance(config, DictConfig) else [*range(len(config))])  # of a list, the places
    held = {
        key: config[key]  # type: ignore[call-overload]  # a key of a DictConfig, or a place of a ListConfig
        for key in keys
        if not OmegaConf.is_missing(config, key) and not OmegaConf.is_interpolation(config, key)
    }
    if isinstance(config, DictConfig) and held.get(TARGET) == BUILD:
        yield path, config
        return
    for key, value in held.items():
        if isinstance(value, (DictConfig, ListConfig)):
            yield from _nodes(value, f"{path}.{key}".lstrip("."))
