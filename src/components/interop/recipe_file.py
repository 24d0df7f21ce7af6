"""A recipe as one would write it by hand: without the options that go without saying, and the config.json that it was read from in its comments."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Any

import yaml

from components.core.config_types import Config
from components.core.errors import UserError
from components.interop.config import at
from components.interop.spelled import recipe_text, spelled_out


def recipe_file(recipe: Config, sentence: str, source: Mapping[str, object]) -> str:
    """The text of a recipe's file. ``source``: the config.json that it was read from."""
    node = yaml.compose(recipe_text(shortest(recipe), sentence), yaml.SafeLoader)
    _on_lines(node, 2)
    return f"# {sentence}\n" + yaml.serialize(node, Dumper=yaml.SafeDumper, width=150, allow_unicode=True) + quoted(source)


def _on_lines(node: yaml.Node, depth: int) -> None:
    """Mappings of so many levels are written line by line, the inner ones each on one."""
    if isinstance(node, yaml.CollectionNode):
        node.flow_style = depth <= 0
    for _, value in node.value if isinstance(node, yaml.MappingNode) else ():
        _on_lines(value, depth - 1)


def quoted(source: Mapping[str, object]) -> str:
    """A config.json as comments, broken between its fields alone."""
    fields = [f"{json.dumps(name)}: {json.dumps(value)}".replace(" ", "\0") for name, value in source.items()]
    lines = textwrap.wrap(f"config.json:\0{{{', '.join(fields)}}}", 155, break_long_words=False, break_on_hyphens=False)
    if len(lines) > 1:
        lines = [*lines[:-1], lines[-1].removesuffix("}"), "}"]
    return "".join(f"# {line}\n" for line in lines).replace("\0", " ")


def shortest(recipe: Config) -> Config:
    """The recipe without the options of its parts that go without saying: it composes to the same model."""
    meant = spelled_out(recipe)["model"]
    for path in options_in(recipe["model"], "model"):
        shorter = deepcopy(recipe)
        owner, _, last = path.rpartition(".")
        node = at(shorter, owner)
        if not isinstance(node, dict) or last not in node:  # it went with what it was in
            continue
        del node[last]
        with suppress(UserError):
            if spelled_out(shorter)["model"] == meant:
                recipe = shorter
    return {**recipe, "model": _by_name(recipe["model"])}


def options_in(node: Mapping[str, object], path: str) -> Iterator[str]:
    """Of every option of a model's parts and of those in them, the outer ones first."""
    for name, value in node.items():
        if path != "model" and name != "name":
            yield f"{path}.{name}"
        if isinstance(value, Mapping):
            yield from options_in(value, f"{path}.{name}")


def _by_name(node: Mapping[str, Any]) -> Any:
    """Parts without options as their names alone, and nothing of those whose options all went."""
    if set(node) == {"name"}:
        return node["name"]
    return {n: _by_name(v) if isinstance(v, Mapping) else v for n, v in node.items() if v != {}}
