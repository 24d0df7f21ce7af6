"""Interchangeable parts for language models: any part with any part, at full speed, and never silently wrong.

Nothing here imports torch until it is used, so that the command line answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from components.core import moved

__version__ = "0.1.0"

# public name -> the module that defines it
_PUBLIC = {
    "register": "components.core.registry",
    "declare_kind": "components.core.registry",
    "preset": "components.core.registry",
    "build": "components.compose.build",
    "load_recipe": "components.training.run",
    "load": "components.training.run",
    "train": "components.training.run",
    "evaluate": "components.training.run",
    "ablate": "components.studies.ablating",
    "scale": "components.studies.scaling",
    "explain": "components.explain",
    "trace": "components.explain.activations",
    "check": "components.check",
    "list_parts": "components.core.listing",
    "merge": "components.parts.adapter._merge",
    "adapter_state_dict": "components.parts.adapter._merge",
    "callbacks": "components.training.public",
    "strategies": "components.training.public",
    "tasks": "components.training.public",
    "Task": "components.training.public.tasks",
}
_MODULES = {"hydra": "components.compose.hydra_app"}  # public names that are modules
__all__ = [*_PUBLIC, *_MODULES, "__version__"]
moved.install()


if TYPE_CHECKING:  # what an editor reads
    from components.check import check as check
    from components.compose import hydra_app as hydra  # noqa: F401
    from components.core.listing import list_parts as list_parts
    from components.core.registry import declare_kind as declare_kind
    from components.core.registry import preset as preset
    from components.core.registry import register as register
    from components.explain import explain as explain
    from components.explain.activations import trace as trace
    from components.parts.adapter._merge import adapter_state_dict as adapter_state_dict
    from components.parts.adapter._merge import merge as merge
    from components.runs.building import build as build
    from components.studies.ablating import ablate as ablate
    from components.studies.scaling import scale as scale
    from components.training.public import callbacks as callbacks
    from components.training.public import strategies as strategies
    from components.training.public import tasks as tasks
    from components.training.public.tasks import Task as Task
    from components.training.run import evaluate as evaluate
    from components.training.run import load as load
    from components.training.run import load_recipe as load_recipe
    from components.training.run import train as train


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, *_MODULES})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name not in _PUBLIC:
        raise AttributeError(f"module 'components' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
