"""``components.hydra``: our parts in somebody's own Hydra app, checked before anything is built, with the paths of the app's config.

    @hydra.main(version_base="1.3", config_path="configs", config_name="train")
    @components.hydra.checked
    def main(config): ...
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

from hydra.errors import CompactHydraException, InstantiationException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from components.compose.hydra_node import check_part, is_ours, moved, part_of, unknown
from components.core.errors import UserError


class Refused(CompactHydraException):
    """What Hydra prints of it is its one line."""


def check(config: DictConfig) -> None:
    """Hold every node of ``components.build`` in an app's config against the signatures, and the parts in it against one another.

    Reads signatures, imports no part. What is missing (``???``) may still be given to ``instantiate``, so it is not refused here.

    Raises:
        UserError: the first node that cannot be built, with the path in the config.
    """
    for path, node in _nodes(config, ""):
        try:
            held = OmegaConf.to_container(node, resolve=True)
        except OmegaConfBaseException as e:
            key = getattr(e, "full_key", None)
            raise UserError(str(key or path), str(e.msg or e).splitlines()[0]) from None
        kind, part = part_of(held, path, unknown)  # type: ignore[arg-type]  # a mapping's container is one
        check_part(kind, part, path, complete=False)


def checked(main: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """``main`` of a Hydra app, to stand below ``@hydra.main``: its config is checked first, and a refusal is one line.

    What ``instantiate`` refuses within ``main`` is one line too.
    """

    @functools.wraps(main)
    def run(config: DictConfig) -> Any:
        try:
            check(config)
            return main(config)
        except UserError as e:
            raise Refused(e.line()) from e
        except InstantiationException as e:
            if not isinstance(e.__cause__, UserError):
                raise
            raise Refused(in_app(e.__cause__, str(e)).line()) from e

    return run


def in_app(error: UserError, said: str) -> UserError:
    """The error with the path of the node in the app's config, which Hydra says in its own message."""
    key = re.search(r"^full_key: (\S+)$", said, re.M)
    return moved(error, re.split(r"[./]", error.where)[0], key[1]) if key else error


def _nodes(config: Any, path: str) -> Iterator[tuple[str, DictConfig]]:
    """Our nodes in a config, the outermost only, with their paths."""
    if isinstance(config, DictConfig) and is_ours({k: v for k, v in [("_target_", _raw(config, "_target_"))]}):
        yield path, config
        return
    keys = list(config.keys()) if isinstance(config, DictConfig) else range(len(config))
    for key in keys:
        value = _raw(config, key)
        if isinstance(value, (DictConfig, ListConfig)):
            yield from _nodes(value, f"{path}.{key}".lstrip("."))


def _raw(config: DictConfig | ListConfig, key: Any) -> Any:
    """A value, or None where it is missing or leads elsewhere: what it leads to is met where it stands."""
    if key not in config if isinstance(config, DictConfig) else False:
        return None
    return None if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, key) else config[key]
