"""Arguments ``key=value``, read by Hydra's override parser; paths literally. Hydra is imported when the first one is read."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.paths import expanded

TARGET = "_target_"
_ARGUMENT = re.compile(r"(?P<sign>\+\+|\+|~)?(?P<key>[^=]+?)(?:=(?P<value>.*))?", re.S)


@dataclass(frozen=True)
class Argument:
    """``+model/attention=mla`` taken apart, its value not read yet. Slash and dot mean the same.

    ``text`` and ``typed`` keep quotes: a sweep takes what is in quotes as one value. From Python it has a ``value`` instead of a text, which is taken
    as it is: no grammar reads it, and no interpolation is looked for in it.
    """

    sign: str
    path: tuple[str, ...]
    text: str | None
    typed: str
    value: Any = None
    from_python: bool = False

    @property
    def key(self) -> str:
        return ".".join(self.path)

    @property
    def literal(self) -> str | None:
        """The value of a name or a path, as it stands: a pair of quotes around it falls off. None for null, and where there is no value."""
        if self.from_python:
            return None if self.value is None else str(self.value)
        return None if self.text in (None, "null") else literal(self.text)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.value, dict) or (self.text or "").startswith("{")

    @property
    def keys(self) -> list[str]:
        """The dotted paths of all that it says: of a mapping from Python those of its values."""
        return [*flat(self.value, self.key)] if isinstance(self.value, dict) else [self.key]

    @property
    def words(self) -> list[str]:
        """For people, a line for each value."""
        if not isinstance(self.value, dict):
            return [self.typed]
        return [f"{self.key}.{path}={value}" for path, value in flat(self.value).items()]

    def at(self, key: str) -> str | None:
        """The value that it says for a dotted key, as it stands."""
        held = flat(self.value, self.key) if isinstance(self.value, dict) else {self.key: self.literal}
        return held.get(key)

    def read(self) -> Any:
        """The value; a text is read by Hydra's grammar, and nothing is null."""
        return self.value if self.from_python else read_value(self.text or "null", self.typed)


def split(argument: str) -> Argument:
    """Take an argument apart at its first ``=``. UserError if it is none."""
    match = _ARGUMENT.fullmatch(argument)
    if match is None or (match["value"] is None and match["sign"] != "~"):
        raise UserError(repr(argument), "is no override", "write key=value, e.g. model/norm=rms or seed=1")
    key = match["key"]
    if "@" in key:
        raise UserError(
            repr(argument), "packages (group@package) have no meaning here", "write the path, e.g. model.encoder.attention=gqa"
        )
    path = tuple(re.split(r"[./]", key))
    if not all(re.fullmatch(r"\w[\w-]*", p) for p in path):
        raise UserError(
            repr(argument), f"{key!r} is no path", "write words with dots between them, e.g. model.attention.n_heads=4"
        )
    if TARGET in path:
        refuse_targets({TARGET: match["value"]}, ".".join(path[: path.index(TARGET)]) or "config")
    return Argument(match["sign"] or "", path, match["value"], argument)


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """{dotted path: leaf}; an empty mapping is a leaf."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    out: dict[str, Any] = {}
    for key, inner in value.items():
        out.update(flat(inner, f"{path}.{key}".lstrip(".")))
    return out


def escaped(value: Any) -> Any:
    """The same where interpolations are looked for: in a text from Python, or of a config that is spelled out, a ``${`` stands for itself."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda m: 2 * m[1] + "\\${", value)
    if isinstance(value, dict):
        return {k: escaped(v) for k, v in value.items()}
    return [escaped(v) for v in value] if isinstance(value, list) else value


def parse(argument: str, typed: str = "") -> Any:
    """Hydra's ``Override`` for one argument, which was ``typed``. UserError in one line where Hydra's grammar does not read it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(argument)
    except (ValueError, RecursionError) as e:  # a number of thousands of digits, a list of thousands of levels
        raise UserError(repr(typed or argument), f"cannot be read ({e})", "write another value") from None
    except HydraException as e:
        raise UserError(
            repr(typed or argument), f"cannot be read ({_fault(str(e))})", "quote the value: key='\"...\"'"
        ) from None


def _fault(said: str) -> str:
    """What Hydra's parser met, without the names of its tokens."""
    met = re.search(
        r"(?:mismatched input|extraneous input|no viable alternative at input|token recognition error at:) '(.*?)'", said
    )
    if met is None:
        return (said.strip().splitlines() or ["by Hydra's grammar"])[0]
    return "it ends too early" if met[1] == "<EOF>" else f"{met[1]!r} cannot stand where it does"


def read_value(text: str, typed: str = "") -> Any:
    """The value of ``key=text``: number, word, true, null, list, mapping. A sweep is refused: by then Hydra has expanded it."""
    typed = typed or text
    override = parse(f"value={text}", typed)
    if override.is_sweep_override():
        raise UserError(repr(typed), "is a sweep", "add --multirun, or write a list as [a,b] and text with a comma in quotes")
    value = override.value()
    refuse_targets(value, typed)
    return plain(value, typed)


def plain(value: Any, where: str) -> Any:
    """The value of a part's option, which holds no interpolation: those belong to the groups that OmegaConf composes."""
    if isinstance(value, str) and "${" in value:
        raise UserError(where, f"{value!r}: a part's option holds values, not interpolations", "write the value itself")
    return value


def literal(text: str) -> str:
    """``text`` without the one pair of quotes around it, if there is one."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].replace("\\" + text[0], text[0])
    return text


def in_quotes(text: str) -> str:
    """For Hydra's grammar, unless it is in quotes already. ``literal`` undoes it."""
    return text if literal(text) != text else "'" + text.replace("'", "\\'") + "'"


def literal_path(text: str, folder: Path, where: str = "path") -> str:
    """``text`` to its end, ``~`` expanded, relative to ``folder``. One pair of quotes around it falls off, unless the file has them. Nothing stays nothing."""
    bare = literal(text)
    if bare != text and not os.path.exists(folder / text):
        text = bare
    return text if text in ("-", "") else os.path.normpath(expanded(text, where, folder))


def refuse_targets(value: object, where: str) -> None:
    """Configs are data: a class path in one is refused wherever it stands."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if TARGET in re.split(r"[./]", str(key)):
                raise UserError(
                    where, f"{key}: {inner!r} names code, and a config is data", "name a registered part: {name: ...}"
                )
            refuse_targets(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for inner in value:
            refuse_targets(inner, where)
