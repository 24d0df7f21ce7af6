"""``python -m components.core.plugin_child NAME``: import one plug-in and print, as JSON, what it registered or why it failed.

It runs as a process of its own, so a plug-in may import torch, print, crash or hang without harm to the command line.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import traceback
from dataclasses import asdict, replace
from importlib import import_module
from typing import Any

from components.core import plugins, registry
from components.core.index import own_entries


def record(plugin: plugins.Plugin) -> dict[str, Any]:
    """Import every module of the plug-in. A module that fails loses only its own parts."""
    folders, files = plugins.places(plugin.modules)
    before = plugins.stamp(folders, files)  # taken first, so that an edit during the import makes the record stale
    ours = own_entries()
    kinds = set(registry.KINDS)
    errors: list[str] = []
    found: dict[tuple[str, str], registry.Entry] = {}
    for module in plugin.modules:
        collected = registry.collected = []
        seen = set(registry.LIVE)
        try:
            import_module(module)
        except (Exception, SystemExit) as e:  # a plug-in may raise anything; its author reads which error it was
            errors.append(_said(module, e, [*folders, *files]))
            for key in set(registry.LIVE) - seen:
                registry.unregister(*key)
            continue
        for e in (*collected, *(registry.LIVE[key] for key in registry.LIVE if key not in seen)):
            if not _is_ours(e, ours) and _owner(e.origin if e.preset_of else e.module, plugin) == plugin.name:
                found[e.kind, e.name] = replace(e, origin=plugin.name, file=_file(e.module))
    declared = [asdict(registry.KINDS[k]) for k in registry.KINDS if k not in kinds]
    more = sorted(_sources(found.values()) - {row[0] for row in before})
    return {
        "entries": [asdict(e) for e in found.values()],
        "kinds": [k for k in declared if _owner(k["origin"], plugin) == plugin.name],
        "errors": errors,
        "folders": folders,
        "files": [*files, *more],
        "stamp": sorted([*before, *plugins.stamp([], more)]),
    }


def _is_ours(entry: registry.Entry, ours: dict[tuple[str, str], registry.Entry]) -> bool:
    """A part of this package that the plug-in merely imported."""
    known = ours.get((entry.kind, entry.name))
    return known is not None and (known.module, known.qualname, known.preset_of) == (
        entry.module,
        entry.qualname,
        entry.preset_of,
    )


def _owner(module: str, plugin: plugins.Plugin) -> str:
    """The plug-in with a module whose name shares the most leading words with ``module``. On a tie, ``plugin``."""

    def shared(p: plugins.Plugin) -> int:
        return max((_common_words(module, m) for m in p.modules), default=0)

    closest = max(plugins.installed().values(), key=shared, default=plugin)
    return closest.name if shared(closest) > shared(plugin) else plugin.name


def _common_words(a: str, b: str) -> int:
    """How many leading words two dotted names share: 2 for ``x.y.z`` and ``x.y``."""
    same = [x == y for x, y in zip(a.split("."), b.split("."))]
    return [*same, False].index(False)


def _sources(entries: Any) -> set[str]:
    """The files that the signatures came from: those of the classes and of their bases."""
    classes = [registry.TARGETS.get((e.kind, e.preset_of or e.name)) for e in entries]
    family = [c for target in classes if target for c in (inspect.getmro(target) if inspect.isclass(target) else [target])]
    found = {_file(c.__module__) for c in family} | {e.file for e in entries}
    found |= {_file(e.module) for e in entries if e.preset_of}
    return {f for f in found if f}


def _file(module: str) -> str:
    return getattr(sys.modules.get(module), "__file__", None) or ""


def _said(module: str, error: BaseException, own: list[str]) -> str:
    """``module: file:line: ErrorType: message``, with the last place in the plug-in's own files."""
    last = " ".join(traceback.format_exception_only(error)[-1].split())
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    theirs = [f for f in frames if any(f[0].startswith(place) for place in own)]
    file, line = (theirs or [("", 0)])[-1]
    return ": ".join(filter(None, (module, f"{file}:{line}" if file else "", last)))


def main(name: str) -> None:
    answer = os.fdopen(os.dup(1), "w", encoding="utf8")
    os.dup2(2, 1)  # what a plug-in prints during its import must not mix with the answer
    registry.collected = []
    json.dump(record(plugins.installed()[name]), answer)
    answer.flush()


if __name__ == "__main__":
    main(sys.argv[1])
