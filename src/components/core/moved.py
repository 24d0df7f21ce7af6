"""Modules by a second name: public ones that stand in a room, and those that plug-ins import by an old name, for one release.

Asked only for a name that nothing else has found, so that it costs nothing where it is not needed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

PUBLIC = {f"components.{name}": f"components.training.public.{name}" for name in ("callbacks", "strategies", "tasks")}
MOVED = {
    **PUBLIC,
    **{f"components.{name}": f"components.core.{name}" for name in ("errors", "flops", "makers", "registry", "signature")},
    **{f"components.{name}": f"components.core.{name}" for name in ("sockets", "weights")},
    "components.run": "components.training.run",
    "components.measuring": "components.corpus.evaluation_api",
    "components.functional.visibility": "components.functional.attention_mask",
}


class Moved(MetaPathFinder, Loader):
    """Finds a second name and gives the module itself, not a copy: a class is the same class by either name."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        del path, target
        return spec_from_loader(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(MOVED[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        old = module.__spec__  # the machinery has put the second name's there
        assert old is not None
        module.__spec__ = old.loader_state


def install() -> None:
    if not any(isinstance(finder, Moved) for finder in sys.meta_path):
        sys.meta_path.append(Moved())
