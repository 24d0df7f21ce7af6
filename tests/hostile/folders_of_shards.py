"""Hostile folders of shards: what a stranger may put into the plan, the parts, the rest, and beside them."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from corpus import NODES, RUN, TEXTS, VALUES, Case, _Code, flipped, node, put, remove, shortened, text

FOLDER = "s.ckpt"  # of two ranks
PLAN, REST, PART, OTHER = (
    f"{FOLDER}/{n}" for n in ("plan.json", "rest.ckpt", "part_00000.safetensors", "part_00001.safetensors")
)
USE = ("generate", FOLDER, "--max-new-tokens", "2")
GO_ON = ("train", f"resume={RUN}", "trainer.max_steps=5")  # its last.ckpt becomes the folder
ONE = ("consolidate", FOLDER, "--to", "one.ckpt")
HERE = (FOLDER,)


def of_shards() -> Iterator[Case]:
    for file in (PLAN, PART, REST):
        name = Path(file).name
        for what, content in TEXTS.items():
            if file != PLAN and what not in ("empty", "words"):
                continue  # parts are refused by their size, and the rest is read as any checkpoint is
            yield Case(f"shards {name}/{what}", USE, text(file, content), HERE, fine=False)
        for what in NODES:
            yield Case(f"shards {name}/{what}", USE, node(file, what), HERE, fine=False)
        for i in range(6):
            yield Case(f"shards {name}/flipped {i}", ONE, flipped(file, i), HERE)
        for i in range(2):
            yield Case(f"shards {name}/cut {i}", USE, shortened(file, (i + 1) / 3), HERE, fine=False)
        yield Case(f"shards {name}/missing", USE, lambda f, n=file: (f / n).unlink(), HERE, fine=False)
        yield Case(f"shards {name}/code", USE, _pickle(file), HERE, fine=False)
        yield Case(f"shards {name}/a link out", USE, _linked(file), HERE, fine=False)
    yield Case("shards/code in .metadata", USE, _only_metadata, HERE, fine=False)
    yield Case("shards/code in .metadata, resumed", GO_ON, _in_run(_only_metadata), ("last.ckpt", RUN), fine=False)
    yield Case("shards/code in .metadata beside", USE, _pickle(f"{FOLDER}/.metadata"), HERE)
    yield Case("shards/parts changed places", USE, _swapped, HERE, fine=False)
    for what, name in {
        "above": "../outside/x.safetensors",
        "absolute": "/etc/passwd",
        "a folder": "a/../part_00000.safetensors",
    }.items():
        yield Case(f"shards plan/a part {what}", USE, in_plan(lambda p, n=name: _renamed(p, n)), HERE, fine=False)
    for name in ("schema", "parts", "tensors", "tensors.0", "parts.part_00000.safetensors"):
        for what, value in VALUES.items():
            if (name, what) != ("parts.part_00000.safetensors", "a mapping"):
                yield Case(f"shards plan/{name} {what}", USE, in_plan(lambda p, n=name, v=value: _set(p, n, v)), HERE)
    for name in (
        "places",
        "places.0",
        "places.0.0",
        "dtype",
        "shape",
        "shape.0",
        "pieces",
        "pieces.0",
        *(f"pieces.0.{i}" for i in range(5)),
    ):
        for what, value in VALUES.items():
            change = in_plan(lambda p, n=name, v=value: _set(p, f"tensors.0.{n}", v))
            yield Case(f"shards plan/tensor.{name} {what}", USE, change, HERE)
    for what, change in PLANS.items():
        yield Case(f"shards plan/{what}", USE, in_plan(change), HERE, fine=False)
        yield Case(f"shards plan/{what}, resumed", GO_ON, _in_run(in_plan(change)), ("last.ckpt", RUN), fine=False)
    for what, change in {"config": {"config": 3}, "tokenizer": {"tokenizer": {}}, "schema": {"schema": 99}}.items():
        yield Case(f"shards rest/{what}", USE, in_rest(lambda r, c=change: r["components"].update(c)), HERE, fine=False)
    yield Case("shards rest/a list", USE, in_rest(lambda _: [1, 2]), HERE, fine=False)
    yield Case("shards rest/weights are a list", USE, in_rest(lambda r: {**r, "state_dict": [1]}), HERE, fine=False)
    yield Case("shards/sound", USE, lambda _: None, HERE)
    yield Case("shards/sound, resumed", GO_ON, _in_run(lambda _: None), (RUN,))


def in_plan(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """A plan that is changed, with the right checksum."""

    def make(folder: Path) -> None:
        plan = json.loads((folder / PLAN).read_text())["plan"]
        change(plan)
        crc = zlib.crc32(json.dumps(plan, sort_keys=True, ensure_ascii=False).encode(errors="replace"))
        (folder / PLAN).write_text(json.dumps({"plan": plan, "crc": crc}))

    return make


def in_rest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import torch

        held = torch.load(folder / REST, weights_only=True)
        changed = change(held)
        torch.save(held if changed is None else changed, folder / REST)

    return make


def _set(held: Any, path: str, value: Any) -> None:
    """As ``put``, through lists too. A part's name has a point."""
    if path.startswith("parts."):
        held["parts"][path.removeprefix("parts.")] = value if value != "DEEP" else [[[]]]
        return
    *way, last = path.split(".")
    for word in way:
        held = held[int(word)] if isinstance(held, list) else held[word]
    if isinstance(held, list):
        box: dict[str, Any] = {}
        put(box, "x", value)
        held[int(last)] = box["x"]
    else:
        put(held, last, value)


def _weight(plan: dict[str, Any]) -> dict[str, Any]:
    """A weight in two pieces."""
    return next(t for t in plan["tensors"] if len(t["pieces"]) == 2)


def _renamed(plan: dict[str, Any], name: str) -> None:
    plan["parts"][name] = plan["parts"].pop("part_00000.safetensors")
    for piece in (p for t in plan["tensors"] for p in t["pieces"] if p[0] == "part_00000.safetensors"):
        piece[0] = name


def _piece(at: int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(plan: dict[str, Any]) -> None:
        _weight(plan)["pieces"][1][at] = value(_weight(plan)["pieces"]) if callable(value) else value

    return change


PLANS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another shape": lambda p: _weight(p).update(shape=[n + 1 for n in _weight(p)["shape"]]),
    "a shape of 10^12": lambda p: _weight(p).update(shape=[10**12 for _ in _weight(p)["shape"]]),
    "turned": lambda p: _weight(p).update(
        shape=_weight(p)["shape"][::-1], pieces=[[*x[:2], x[2][::-1], x[3][::-1], x[4]] for x in _weight(p)["pieces"]]
    ),
    "another dtype": lambda p: _weight(p).update(dtype="I32"),
    "a piece twice": _piece(2, lambda pieces: pieces[0][2]),
    "a piece less": lambda p: _weight(p)["pieces"].pop(),
    "no pieces": lambda p: _weight(p)["pieces"].clear(),
    "a piece outside": _piece(2, lambda pieces: [10**6, *pieces[1][2][1:]]),
    "a negative place": _piece(2, lambda pieces: [-1, *pieces[1][2][1:]]),
    "another tensor's piece": _piece(1, "x"),
    "another checksum": _piece(4, 5),
    "a part that is not listed": _piece(0, "part_00007.safetensors"),
    "a tensor twice": lambda p: p["tensors"].append(p["tensors"][0]),
    "a tensor less": lambda p: p["tensors"].pop(0),
    "a place in the config": lambda p: p["tensors"][0].update(places=[["components", "config"]]),
    "a place in another weight": lambda p: p["tensors"][0].update(places=[[*p["tensors"][1]["places"][0], "x"]]),
    "a place of numbers": lambda p: p["tensors"][0].update(places=[["state_dict", 5]]),
    "another name": lambda p: p["tensors"][0].update(places=[["state_dict", "model.x"]]),
    "a million tensors": lambda p: p.update(tensors=[{}] * 10**6),
}


def _pickle(file: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import torch

        remove(folder / file)
        with (folder / file).open("wb") as stream:
            torch.save({"components": _Code(), "state_dict": _Code()}, stream)

    return make


def _only_metadata(folder: Path) -> None:
    """A folder as ``torch.distributed.checkpoint`` writes it."""
    import pickle

    for file in (folder / FOLDER).iterdir():
        file.unlink()
    (folder / FOLDER / ".metadata").write_bytes(pickle.dumps(_Code()))
    (folder / FOLDER / "__0_0.distcp").write_bytes(pickle.dumps(_Code()))


def _linked(file: str) -> Callable[[Path], None]:
    """The very file, but elsewhere."""

    def make(folder: Path) -> None:
        outside = folder.parent / "outside" / "held"
        outside.parent.mkdir(exist_ok=True)
        shutil.move(folder / file, outside)
        (folder / file).symlink_to(outside)

    return make


def _swapped(folder: Path) -> None:
    os.rename(folder / PART, folder / "between")
    os.rename(folder / OTHER, folder / PART)
    os.rename(folder / "between", folder / OTHER)


def _in_run(change: Callable[[Path], Any]) -> Callable[[Path], None]:
    """The changed folder as the last checkpoint of the run."""

    def make(folder: Path) -> None:
        change(folder)
        last = folder / RUN / "checkpoints" / "last.ckpt"
        remove(last)
        shutil.copytree(folder / FOLDER, last, symlinks=True)

    return make
