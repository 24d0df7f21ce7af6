"""What a config holds: plain data, as JSON and YAML have it, and the one way to ask a part's mapping which part it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Value: TypeAlias = bool | int | float | str | Sequence["Value"] | Mapping[str, "Value"] | None
Config: TypeAlias = dict[str, Any]  # a spelled-out config, or the mapping of one part in it; its values are ``Value``


def part_name(part: Mapping[str, Any]) -> str:
    """The preset that a part's mapping names, else its name."""
    return part.get("preset") or part["name"]


# What is said of a config from Python: words ``key=value`` as on the command line, a mapping as a recipe's file has it, or several of both in order
Overrides: TypeAlias = Sequence[str | Mapping[str, object]] | Mapping[str, object]
