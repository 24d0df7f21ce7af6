"""Parts of other packages that were never checked here: said when a run begins, until ``components check`` has found that all holds.

A part that ignores the cache or the borders of documents trains, and generates, and is wrong.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from components.compose.scope import parts_of
from components.core import registry
from components.core.cache_file import cache_folder
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.files import make_folder, write_text


def remember(label: str, target: Callable[..., object]) -> None:
    """The part ``label`` holds to its contract, as its source stands now. Nothing is said where the cache cannot be written."""
    mark = _mark(label, target)
    with suppress(UserError):
        make_folder(mark.parent)
        write_text(mark, f"{label}\n")


def unchecked(config: Config) -> list[str]:
    """One line for each part in the model that is not of this package, and was not checked as its source stands now."""
    found: dict[str, str] = {}
    for part in parts_of({"model": config["model"]}):
        entry = part.entry
        if (
            entry.origin == "components"
            or _mark(entry.label, registry.find(entry.kind, entry.preset_of or entry.name)).exists()
        ):
            continue
        what = entry.label if entry.file else f"{entry.module}:{entry.qualname}"
        found[entry.label] = f"{entry.label} was not checked as it stands (cache, documents, padding): components check {what}"
    return list(found.values())


def _mark(label: str, target: Callable[..., object]) -> Path:
    try:
        source = Path(inspect.getsourcefile(target) or "").read_bytes()
    except (OSError, TypeError):  # typed in a notebook or a shell
        source = repr(target).encode()
    name = hashlib.blake2b(label.encode() + b"\0" + source, digest_size=16).hexdigest()
    return cache_folder() / "checked" / name
