"""Interchangeable parts for language models: any part with any part, at full speed, and never silently wrong.

Nothing here imports torch until it is used, so that the command line answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# public name -> the module that defines it
_PUBLIC = {
    "register": "components.registry",
    "declare_kind": "components.registry",
    "preset": "components.registry",
    "build": "components.compose.build",
    "load_recipe": "components.run",
    "load": "components.run",
    "train": "components.run",
    "evaluate": "components.run",
    "explain": "components.explain",
    "merge": "components.adapter._merge",
    "adapter_state_dict": "components.adapter._merge",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'components' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
