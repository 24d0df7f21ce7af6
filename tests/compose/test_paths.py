"""Paths on the command line are taken literally, whatever Hydra's grammar would make of them."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "name", ["book.txt", "book (1).txt", "x,y.txt", "a=b.txt", "{c}.txt", "d: e.txt", "f'g.txt", "ü/h.txt", "${i}.txt", "*.txt"]
)
def test_a_path_is_what_was_typed_to_the_end(run, world, name) -> None:
    assert run("source=file", f"source.path={name}").config["source"]["path"] == str(world / name)


def test_home_absolute_quoted_and_standard_input(run, world) -> None:
    def path(typed: str) -> str:
        return run("source=file", f"source.path={typed}").config["source"]["path"]

    assert path("~/x.txt") == str(Path.home() / "x.txt")
    assert path("/data/x.txt") == "/data/x.txt"
    assert path("'x y.txt'") == str(world / "x y.txt"), "as Hydra's sweeper hands it on"
    assert path("-") == "-"
    assert path("./a/../x.txt") == str(world / "x.txt")


def test_a_list_of_paths(run, world) -> None:
    composed = run("source=file", "source.path=a", "source.also=[b.txt, /c.txt]")
    assert composed.config["source"]["also"] == [str(world / "b.txt"), "/c.txt"]
