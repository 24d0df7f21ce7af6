"""Where a value was said: default < each recipe file, parent first < command line; and how what was said is read."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from components.compose.grammar import literal_path, plain, read_value
from components.core.config_types import Value
from components.core.paths import expanded
from components.core.signature import Option


@dataclass(frozen=True, order=True)
class ConfigSource:
    """One place that says values; a higher rank wins. ``complete``: it says every option of a part, so its swaps are no news."""

    rank: int
    label: str = field(compare=False)
    complete: bool = field(default=False, compare=False)


DEFAULT = ConfigSource(0, "default")


@dataclass(frozen=True)
class Override:
    """One override: ``path`` from where it is applied, and its value, either read already (YAML) or the text of an argument.

    ``folder``: what relative paths in it are relative to. ``spelled``: from a saved config, where every default is written out.
    """

    path: tuple[str, ...]
    source: ConfigSource
    order: int
    value: Value = None
    text: str | None = None
    folder: Path = Path()
    spelled: bool = False
    as_it_is: bool = False  # a text in it is no interpolation: it is from Python, or of a config that is spelled out
    shown_as: str = ""  # file and line, or the argument as typed; for messages

    def under(self, head: str, value: Value) -> Override:
        """The same, for one entry of a mapping that was said."""
        return replace(self, path=(*self.path, head), value=value, text=None)

    def read(self, option: Option | None = None, where: str = "") -> Value:
        """The value. An argument is read by Hydra's grammar, except for a path, which is taken literally."""
        bases = option.type.bases if option else ()
        if "path" in bases:
            if self.text is not None:
                if self.text == "null" and option is not None and option.type.optional:
                    return None
                return literal_path(self.text, self.folder, where)
            return absolute(self.value, self.folder, where)
        if self.text is not None:
            value = read_value(self.text, self.shown_as)
        else:
            value = self.value if self.as_it_is else plain(self.value, where or str(self.value))
        if "list[path]" in bases:
            values = value if isinstance(value, list) else [value]
            return [absolute(v, self.folder, where) for v in values]
        return value


@dataclass(frozen=True)
class OptionValue:
    """A value that somebody gave, and where. ``from_model``: a slice's copy of what the whole model has."""

    value: Value
    source: ConfigSource
    from_model: bool = False


def absolute(value: Value, folder: Path, where: str) -> Value:
    """A path relative to ``folder``, with ``~`` expanded; anything else as it is."""
    if not isinstance(value, str) or value == "-":  # standard input
        return value
    return os.path.normpath(expanded(value, where, folder))
