"""YAML as OmegaConf reads it (``1e-3`` is a number, a key twice is an error), with mistakes told in one line: file and line."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from components.compose.grammar import refuse_targets
from components.errors import UserError


def short(file: Path) -> str:
    """The file as people know it: relative to here if it lies below."""
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in ``file``, interpolations left as they are. UserError with file and line."""
    try:
        state = file.stat()
    except OSError as e:
        raise UserError(short(file), f"cannot be read: {e.strerror}") from None
    return deepcopy(_read(file, state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=256)
def _read(file: Path, time: int, size: int) -> dict[str, Any]:
    """Read once for each state of the file: a composition reads the same files for the recipe and for what differs from it."""
    import yaml
    from omegaconf._utils import get_yaml_loader

    del time, size
    try:
        value = yaml.load(file.read_text(encoding="utf8"), Loader=get_yaml_loader())
    except OSError as e:
        raise UserError(short(file), f"cannot be read: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise UserError(short(file), f"is not UTF-8 text (byte {e.start})") from None
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{short(file)}{line}", f"is no valid YAML: {(e.problem or str(e)).splitlines()[0]}") from None
    except yaml.YAMLError as e:
        raise UserError(short(file), f"is no valid YAML: {str(e).splitlines()[0]}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(short(file), f"holds a {type(value).__name__}, not a mapping", "write key: value lines")
    refuse_targets(value, short(file))
    return value


def located(file: Path, path: str) -> str:
    """``recipes/mine.yaml:4``: the line of the key at ``path``, or of the nearest key above it."""
    lines, words = key_lines(file), tuple(path.split("."))
    while words and words not in lines:
        words = words[:-1]
    return f"{short(file)}:{lines[words]}" if words else short(file)


def key_lines(file: Path) -> dict[tuple[str, ...], int]:
    """{path of keys: line} of every key in a YAML file that has been read before."""
    import yaml

    lines: dict[tuple[str, ...], int] = {}

    def walk(node: Any, path: tuple[str, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = (*path, *str(key.value).split("."))
                lines[inner] = key.start_mark.line + 1
                walk(value, inner)

    walk(yaml.compose(file.read_text(encoding="utf8")), ())
    return lines
