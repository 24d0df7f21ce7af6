"""Parts of other packages that were not checked on this machine. A run names them at its start, until ``components check`` passes.

A part that ignores the cache or document borders trains and generates without an error, and is wrong.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType

from components.compose.reading import every_part, read_tree
from components.core import registry
from components.core.cache_file import cache_folder
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.files import make_folder, write_text


def remember(label: str, target: Callable[..., object]) -> None:
    """Remember that the part ``label``, with its current source, holds its contract. Does nothing if the cache cannot be written."""
    mark = _mark(label, target)
    with suppress(UserError):
        make_folder(mark.parent)
        write_text(mark, f"{label}\n")


def unchecked(config: Config) -> list[str]:
    """One line for each part in the model that is from another package and was not checked with its current source."""
    found: dict[str, str] = {}
    for part in every_part(read_tree({"model": config["model"]})):
        entry = part.entry
        if (
            entry.origin == "components"
            or _mark(entry.label, registry.find(entry.kind, entry.preset_of or entry.name)).exists()
        ):
            continue
        what = entry.label if entry.file else f"{entry.module}:{entry.qualname}"
        # another process does not know what a script or a cell has defined
        how = f'components.check("{entry.label}")' if entry.module == "__main__" else f"components check {what}"
        found[entry.label] = f"{entry.label} was not checked as it stands (cache, documents, padding): {how}"
    return list(found.values())


def _mark(label: str, target: Callable[..., object]) -> Path:
    try:
        source = Path(inspect.getsourcefile(target) or "").read_bytes()
    except (OSError, TypeError):  # typed in a notebook or a shell: no file, so the code of its methods
        source = "\n".join([repr(target), *_code(target)]).encode()
    name = hashlib.blake2b(label.encode() + b"\0" + source, digest_size=16).hexdigest()
    return cache_folder() / "checked" / name


def _code(target: object) -> list[str]:
    """What the functions of a class compile to, and its plain attributes: another text where the class does something else."""
    found = []
    for name, value in sorted(vars(target).items()):
        if isinstance(value, FunctionType):
            found.append(f"{name}: {_instructions(value.__code__)}")
        elif not name.startswith("__"):
            found.append(f"{name}: {value!r}")
    return found


def _instructions(code: CodeType) -> str:
    constants = [_instructions(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"
