"""Whatever is typed: it holds or is refused, its order does not matter, and the result composes again alone."""

from __future__ import annotations

import json
import random
from typing import Any

from components.core import registry
from components.core.errors import UserError

VALUES = {"int": ["1", "2", "8"], "float": ["0.1", "0.5"], "bool": ["true", "false"]}
SLICES = ["all", "first", "last2", "every2", "every2at1", "from1", "0", "1_2"]


def options_of(draw: random.Random, kind: str, path: str, depth: int) -> str:
    """A choice or an option somewhere below ``path``, of any part that may stand there."""
    entry = registry.entry(kind, draw.choice(registry.names(kind)))
    sockets = {n: o for n, o in entry.signature.sockets().items() if not o.type.many}
    if sockets and depth and draw.random() < 0.6:
        name = draw.choice(sorted(sockets))
        inner = sockets[name].type.kind or ""
        return (
            f"{path}.{name}={draw.choice(registry.names(inner))}"
            if draw.random() < 0.5
            else options_of(draw, inner, f"{path}.{name}", depth - 1)
        )
    plain = [o for o in entry.signature.options.values() if o.type.kind is None and set(o.type.bases) & set(VALUES)]
    if not plain:
        return f"{path}={entry.name}"
    option = draw.choice(plain)
    return f"{path}.{option.name}={draw.choice(VALUES[next(b for b in option.type.bases if b in VALUES)])}"


def test_what_is_typed_holds_or_is_refused(run) -> None:
    draw = random.Random(0)
    composed_count = 0
    for _ in range(120):
        plain = [options_of(draw, "net", "net", 3) for _ in range(draw.randint(1, 4))]
        plain = [o for i, o in enumerate(plain) if o.split("=")[0] not in {p.split("=")[0] for p in plain[:i]}]
        sliced = [
            options_of(draw, kind, f"net.layers.{draw.choice(SLICES)}.{kind}", 2)
            for kind in draw.choices(["mixer", "scale", "place"], k=draw.randint(0, 2))
        ]
        recipe = draw.choice(["parent", "child", "sliced"])
        try:
            composed = run(*plain, *sliced, recipe=recipe)
        except UserError:
            continue
        composed_count += 1
        for override in plain:
            path, typed = override.split("=")
            wanted = json.loads(typed) if typed[0].isdigit() or typed in ("true", "false") else typed
            assert said(at(composed.config, path)) == wanted
        shuffled = draw.sample(plain, len(plain))
        assert run(*sliced, *shuffled, recipe=recipe).config == composed.config, (
            "the order of choices and options does not matter"
        )
        again = run(base=json.loads(json.dumps(composed.config)))
        assert again.config == composed.config
        assert again.difference == again.notes == []
    assert composed_count > 30


def at(config: Any, path: str) -> Any:
    for word in path.split("."):
        config = config[word]
    return config


def said(value: Any) -> Any:
    return value.get("preset") or value["name"] if isinstance(value, dict) else value
