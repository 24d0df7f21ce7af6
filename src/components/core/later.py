"""A package that is found as always, and executed when somebody asks for more than a few names of it.

It is then what it would have been: the same module with the same classes. Nothing happens where it was imported before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType

Early = Mapping[str, Callable[[], object]]  # name: what gives it without the package's own file; ImportError where it cannot


class Package(ModuleType):
    """A package that has been found and not executed."""

    def __getattr__(self, name: str) -> object:
        loader = self.__spec__.loader if self.__spec__ is not None else None
        if isinstance(loader, Later):
            if not loader.begun and name in loader.early:
                try:
                    return loader.early[name]()
                except (ImportError, KeyError):  # of another version, where it stands elsewhere
                    pass
            loader.execute(self)
        if name in self.__dict__:
            return self.__dict__[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        if self.__spec__ is not None and isinstance(self.__spec__.loader, Later):
            self.__spec__.loader.execute(self)
        return sorted(self.__dict__)


class Later(Loader):
    """Executes a package once, when ``Package`` says so. Other threads wait for it.

    Args:
        real: its loader.
        starts: its module that comes first in the package too. Its modules may import one another, which goes well in that order only.
        early: what the package gives before it is executed.
    """

    def __init__(self, real: Loader, starts: str, early: Early) -> None:
        self.real, self.starts, self.early, self.lock, self.begun = real, starts, early, RLock(), False

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = Package
        try:
            import_module(f"{module.__name__}.{self.starts}")
        except ImportError:  # of another version, whose own file knows better
            self.execute(module)

    def execute(self, module: ModuleType) -> None:
        with self.lock:
            if self.begun:  # it is being executed in this thread, or was in another
                return
            self.begun = True
            try:
                self.real.exec_module(module)
            except BaseException:
                self.begun = False  # the next one who asks hears of it too
                raise
            assert module.__spec__ is not None
            module.__spec__.loader = module.__loader__ = self.real
            module.__class__ = ModuleType


class Finder(MetaPathFinder):
    def __init__(self, package: str, starts: str, early: Early) -> None:
        self.package, self.starts, self.early = package, starts, early

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        del target
        if fullname != self.package or (spec := PathFinder.find_spec(fullname, path)) is None or spec.loader is None:
            return None
        spec.loader = Later(spec.loader, self.starts, self.early)
        return spec


def install(package: str, starts: str, early: Early) -> None:
    """``import package`` imports its module ``starts`` and executes the package itself later, unless it is there already."""
    if not any(isinstance(f, Finder) and f.package == package for f in sys.meta_path):
        sys.meta_path.insert(0, Finder(package, starts, early))
