"""The battery: the properties that every part must have, one short function each, for our parts and those of others.

``battery("attention/mine")`` gives the cases for ``pytest.mark.parametrize``, ``assert_part("attention/mine")`` runs them all, and
``components check attention/mine`` prints them line by line. ``holds`` makes a function a property, of a kind of one's own too.

The public function ``components.check`` has the name of this package. The module is therefore callable: whichever of the two it is, calling it checks.
"""

from __future__ import annotations

import sys
from types import ModuleType

from components.check.cases import Case, Property, Verdict, Violation, assert_part, battery, checked_kinds, holds, judged
from components.check.host import Host
from components.check.report import Report, check
from components.check.subject import Subject, subject_of

# each module registers its properties, in the order in which they are printed
from components.check import values, isolation, cached, building, costs, off_path, training, texts, sources, evaluations  # isort: skip  # noqa: F401
from components.check import rewards  # isort: skip  # noqa: F401

__all__ = [
    "Case",
    "Host",
    "Property",
    "Report",
    "Subject",
    "Verdict",
    "Violation",
    "assert_part",
    "battery",
    "check",
    "checked_kinds",
    "holds",
    "judged",
    "subject_of",
]


class _CallableModule(ModuleType):
    """This package, with ``check`` as what happens when it is called."""

    __call__ = staticmethod(check)


sys.modules[__name__].__class__ = _CallableModule
