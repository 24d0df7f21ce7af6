"""The scripts of bench/ as modules, for the tests of what they measure and write."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

BENCH = Path(__file__).parent.parent / "bench"


def script(name: str) -> ModuleType:
    """bench/NAME.py, loaded anew under a name that no other module has."""
    if str(BENCH) not in sys.path:  # last: scripts import one another, and are to hide nobody else's module
        sys.path.append(str(BENCH))
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module
