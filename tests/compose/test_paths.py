"""Paths on the command line are taken literally, whatever Hydra's grammar would make of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.core.errors import UserError


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


@pytest.mark.parametrize("path", ["~nosuchuser/x.txt", "x" * 300, "a\0b"])
def test_what_can_be_no_path_is_said_in_one_line(run, path) -> None:
    for typed in (["source=file", f"source.path={path}"], [f"paths.runs={path}"], [f"recipe={path}/x.yaml"]):
        with pytest.raises(UserError) as e:
            run(*typed)
        assert "\n" not in str(e.value)
        assert len(str(e.value)) < 250
    with pytest.raises(UserError, match=r"source\.path"):
        run("source=file", f"source.path={path}")


def test_the_runs_own_paths_are_literal(run, world) -> None:
    assert run("paths.runs=~/runs").config["paths"]["runs"] == str(Path.home() / "runs")
    for name in ("a (1)", "x,y", "a=b", "2024", "'a b'"):
        assert run(f"paths.runs={name}").config["paths"]["runs"] == name.strip("'")
    assert run("paths.runs=x", "paths.runs=null").config["paths"]["runs"] is None
    (world / "conf/paths").mkdir(parents=True)
    (world / "conf/paths/mine.yaml").write_text("runs: ~/here\ncache: null\n")
    assert run("paths=mine").config["paths"] == {"runs": str(Path.home() / "here"), "cache": None}
    with pytest.raises(UserError, match="did you mean 'runs'"):
        run("paths.rans=x")
