"""A small world of parts with kinds of their own, so that composing is tested whatever parts the library has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from components.compose import Composed, composed
from components.core import registry, resources
from components.core.registry import declare_kind, preset, register, unregister
from components.core.signature import Positive, PositiveFloat, Probability, Slices
from components.core.sockets import Maker, Makers

KINDS = ("net", "mixer", "veil", "scale", "place", "drawing", "filter", "source")
TRAIN = """
defaults:
  - recipe: plain
  - net: stack
  - drawing: draw
  - source: made
  - trainer: default
  - logger: csv
  - paths: default
  - _self_
seed: 0
resume: null
"""
RECIPES = {
    "plain": "# The defaults.\n",
    "parent": "# Many heads, with a window.\nnet:\n  width: 64\n  mixer: {name: many, n_heads: 8, n_kv: 2, qk: {name: root, eps: 1e-3}}\n",
    "child": "# The parent with two heads.\ndefaults: [parent, override /net/scale: mean, override /trainer: fast, _self_]\n"
    "net: {mixer: {n_heads: 2}}\ntrainer: {max_steps: 7}\nseed: 3\n",
    "sliced": "# Every second layer sees a window.\nnet: {layers: {every2: {mixer: {name: windowed, n_heads: 2}}}}\n",
}
CONF = {
    "train.yaml": TRAIN,
    "trainer/default.yaml": "max_steps: 100\nprecision: 32-true\nmax_time: null\n",
    "trainer/fast.yaml": "defaults: [default, _self_]\nprecision: bf16-mixed\n",
    "logger/csv.yaml": "name: csv\n",
    "logger/wandb.yaml": "name: wandb\nproject: x\n",
    "paths/default.yaml": "runs: runs\ncache: null\n",
}


def _parts() -> None:
    @register("net", "stack", renamed={"wide": "width"})
    class Stack:
        per_layer = ("mixer", "scale", "place")

        def __init__(
            self,
            *,
            width: Positive = 32,
            n_layers: Positive = 4,
            mixer: Maker["mixer"] = "many",
            scale: Maker["scale"] = "root",
            place: Maker["place"] = "turn",
            final_scale: Maker["scale"] = "inherit",
            pattern: tuple[str, ...] = (),
            layers: Slices = None,
        ) -> None: ...

    @register("net", "flat")
    class Flat:
        def __init__(
            self, *, width: Positive = 16, scale: Maker["scale"] = "nothing", mixer: Maker["mixer"] | None = None
        ) -> None: ...

    @register("mixer", "many", was=("multi",))
    class Many:
        provides = ("turns",)

        def __init__(
            self,
            *,
            n_heads: Positive = 4,
            n_kv: Positive | None = None,
            place: Maker["place"] = "inherit",
            veil: Maker["veil"] = "clear",
            qk: Maker["scale"] = "nothing",
            mode: Literal["a", "b"] = "a",
            drop: Probability = 0.0,
        ) -> None: ...

    preset("mixer", "windowed", of="many", veil={"name": "window", "size": 128})
    preset("mixer", "single", of="many", n_kv=1)

    @register("mixer", "latent")
    class Latent:
        provides = ("turns",)

        def __init__(
            self,
            *,
            rank: Positive = 8,
            n_heads: Positive = 4,
            qk: Maker["scale"] = "nothing",
            mode: Literal["b", "c"] = "b",
            drop: PositiveFloat | None = None,
        ) -> None: ...

    @register("mixer", "recurrent")
    class Recurrent:
        lacks = ("batch_independent",)

        def __init__(self, *, state: Positive = 16) -> None: ...

    @register("mixer", "writer")
    class Writer:
        provides, carries_out = ("turns",), ("values",)

        def __init__(self) -> None: ...

    @register("mixer", "reader")
    class Reader:
        provides, carries_in = ("turns",), ("values",)

        def __init__(self) -> None: ...

    @register("veil", "clear")
    class Clear:
        def __init__(self) -> None: ...

    @register("veil", "window")
    class Window:
        def __init__(self, *, size: Positive = 64) -> None: ...

    @register("scale", "root")
    class Root:
        def __init__(self, *, eps: PositiveFloat = 1e-6, unit: bool = False) -> None: ...

    @register("scale", "mean")
    class Mean:
        def __init__(self, *, eps: PositiveFloat = 1e-5, bias: bool = True) -> None: ...

    @register("scale", "nothing")
    class Nothing:
        def __init__(self) -> None: ...

    @register("place", "turn")
    class Turn:
        needs = {"mixer": ("turns",)}

        def __init__(self, *, base: PositiveFloat = 10000.0) -> None: ...

    @register("place", "nowhere")
    class Nowhere:
        def __init__(self) -> None: ...

    @register("drawing", "draw")
    class Draw:
        def __init__(self, *, filters: Makers["filter"] = ()) -> None: ...

    @register("drawing", "alone")
    class Alone:
        refuses = {"mixer": ("batch_independent",)}

        def __init__(self, *, filters: Makers["filter"] = ()) -> None: ...

    @register("filter", "top")
    class Top:
        def __init__(self, *, k: Positive = 5) -> None: ...

    @register("filter", "nucleus")
    class Nucleus:
        def __init__(self, *, p: Probability = 0.9) -> None: ...

    @register("source", "made")
    class Made:
        def __init__(self) -> None: ...

    @register("source", "file")
    class File:
        def __init__(self, *, path: Path, also: list[Path] = ()) -> None: ...


@pytest.fixture(scope="module")
def _world() -> Iterator[None]:
    for kind in KINDS:
        declare_kind(kind, f"toy {kind}")
    _parts()
    yield
    for kind in KINDS:
        for name in registry.names(kind):
            unregister(kind, name)
        registry.KINDS.pop(kind)


@pytest.fixture
def world(_world: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder; shipped configs and recipes are the toy ones."""
    for name, text in {f"shipped/conf/{n}": t for n, t in CONF.items()}.items():
        _write(tmp_path / name, text)
    for name, text in RECIPES.items():
        _write(tmp_path / f"shipped/recipes/{name}.yaml", text)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def shipped(what: str) -> Path:
        return tmp_path / "shipped" / what

    monkeypatch.setattr(resources, "shipped", shipped)
    monkeypatch.setattr(composed, "shipped", shipped)
    return folder


@pytest.fixture
def run(world: Path) -> Callable[..., Composed]:
    """``run("net.width=8", recipe="parent")`` composes in the toy world."""

    def compose(*overrides: str, recipe: str | None = None, base: dict | None = None) -> Composed:
        return composed.compose(recipe, list(overrides), base=base, cwd=world)

    return compose


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf8")
