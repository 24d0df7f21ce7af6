"""YAML files, each read once and cached; a mistake in one is an error of one line that names the file and the line."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from components.compose.grammar import refuse_targets
from components.core.config_types import Config
from components.core.content import DEPTH, plain
from components.core.errors import UserError
from components.core.files import read_text, regular

MOST = 2 * 2**20  # bytes


def short(file: Path) -> str:
    """The file as people know it: relative to here if it lies below."""
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)


def read_yaml(file: Path) -> Config:
    """The mapping in ``file``, interpolations left as they are. UserError with file and line."""
    state = regular(file).stat()
    return deepcopy(_read(file, state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=256)
def _read(file: Path, time: int, size: int) -> Config:
    """Read once for each state of the file: a composition reads the same files for the recipe and for what differs from it."""
    del time, size
    value = parse_yaml(read_text(file, most=MOST), short(file))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(short(file), f"holds a {type(value).__name__}, not a mapping", "write key: value lines")
    refuse_targets(value, short(file))
    return value


def parse_yaml(text: str, where: str) -> Any:
    """What a YAML text holds, as plain data. UserError with the file, ``where``, and the line."""
    import yaml

    from components.compose.yaml_loader import Loader

    loader: Loader | None = None
    try:
        loader = Loader(text, where)
        return plain(loader.document(), where, names=True)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{where}{line}", f"is no valid YAML: {(e.problem or str(e)).splitlines()[0]}") from None
    except yaml.YAMLError as e:
        raise UserError(where, f"is no valid YAML: {str(e).splitlines()[0]}") from None
    except RecursionError:  # aliases that hold one another: reading follows them for ever
        raise UserError(where, f"is nested deeper than {DEPTH} levels, or holds itself", "write it flat") from None
    except (ValueError, OverflowError) as e:
        if isinstance(e, UserError):
            raise
        raise UserError(where, f"has a value that cannot be read ({e})", "write another value") from None
    finally:
        if loader is not None:
            loader.dispose()


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

    def walk(node: object, path: tuple[str, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = (*path, *str(key.value).split("."))
                lines[inner] = key.start_mark.line + 1
                walk(value, inner)

    walk(yaml.compose(read_text(file, most=MOST)), ())
    return lines
