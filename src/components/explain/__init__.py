"""The glass box: what a model does with a text, in real numbers, on one page. ``components.explain(run, prompt=...)``.

The public function has the name of this package. Importing the package sets the attribute ``components.explain`` to the module and so hides the
function. The module is therefore callable: whichever of the two ``components.explain`` is, calling it explains.
"""

from __future__ import annotations

import sys
from types import ModuleType

from components.explain.explanation import Explanation, explain

__all__ = ["Explanation", "explain"]


class _CallableModule(ModuleType):
    """This package, with ``explain`` as what happens when it is called."""

    __call__ = staticmethod(explain)


sys.modules[__name__].__class__ = _CallableModule
