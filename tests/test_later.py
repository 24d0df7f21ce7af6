"""A package that is executed when more is asked of it than a few names, and is then what it would have been."""

from __future__ import annotations

import sys
import threading
from importlib import import_module

import pytest

from components.core import later

OWN = """
import time
from laterpack.base import Base
time.sleep(SLEEP)
class More(Base): pass
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder of a package whose file `__init__` is given by `write`; finders and modules are as before afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    folder = tmp_path / "laterpack"
    folder.mkdir()

    def write(own: str, base: str = "class Base: pass\n") -> None:
        (folder / "__init__.py").write_text(own)
        (folder / "base.py").write_text(base)
        later.install("laterpack", "base", {"Base": lambda: vars(import_module("laterpack.base"))["Base"]})

    yield write
    for name in [n for n in sys.modules if n.partition(".")[0] == "laterpack"]:
        del sys.modules[name]


def executed() -> bool:
    return "More" in vars(sys.modules["laterpack"])


def test_a_name_that_is_given_before(package):
    package(OWN.replace("SLEEP", "0"))
    from laterpack import Base  # type: ignore[import-not-found]  # written by this test

    assert not executed()
    from laterpack import More  # type: ignore[import-not-found]

    module = sys.modules["laterpack"]
    assert executed()
    assert issubclass(More, Base)
    assert module.Base is Base
    assert type(module) is type(sys)
    with pytest.raises(AttributeError, match="laterpack"):
        _ = module.nothing


def test_its_names_are_listed_whole(package):
    package(OWN.replace("SLEEP", "0"))
    assert "More" in dir(import_module("laterpack"))


def test_threads_wait_for_one_execution(package):
    package(OWN.replace("SLEEP", "0.05") + "sys = __import__('sys'); sys.executed = getattr(sys, 'executed', 0) + 1\n")
    module, got = import_module("laterpack"), []
    threads = [threading.Thread(target=lambda: got.append(module.More)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(got) == 4
    assert len({*got}) == 1
    assert vars(sys).pop("executed") == 1


@pytest.mark.parametrize("base", ["raise ImportError('not here')\n", "Other = 1\n"], ids=["no such module", "no such name"])
def test_another_version_is_executed_at_once(package, base):
    package("Base = 'of the package'\n", base)
    assert import_module("laterpack").Base == "of the package"


def test_a_fault_of_the_package_is_its_own(package):
    package("raise ValueError('its own')\n")
    module = import_module("laterpack")
    for _ in range(2):
        with pytest.raises(ValueError, match="its own"):
            _ = module.More
