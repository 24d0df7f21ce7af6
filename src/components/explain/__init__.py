"""The glass box: what a model does with a text, in real numbers, on one page. ``components.explain(run, prompt=...)``."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from components.explain.explanation import Explanation, explain

__all__ = ["Explanation", "explain"]


class _Callable(ModuleType):
    """``components.explain`` is this package and the public function of the same name: importing the one would hide the other."""

    def __call__(self, *subjects: Any, **options: Any) -> Explanation:
        return explain(*subjects, **options)


sys.modules[__name__].__class__ = _Callable
