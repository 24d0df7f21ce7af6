"""Parts of other packages: the entry-point group ``components`` names the modules that register them.

This process does not import them. A child process (``plugin_child.py``) imports each plug-in once and reports what it registered.
The answer stays in the user's cache until the plug-in's version or any of its files changes. A plug-in that fails is reported by
name and affects no other. The group ``components.recipes`` names packages whose folder holds recipes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from components.core.cache_file import cache_folder, read_cache, state_of, write_cache
from components.core.entry import KINDS, Entry, Kind, entry_from_json

GROUP = "components"
RECIPES = "components.recipes"
PATIENCE = 300  # seconds that a plug-in's import may take
FORMAT = 4  # of the cache file


@dataclass(frozen=True)
class Plugin:
    """An installed distribution that brings parts or recipes."""

    name: str
    version: str
    path: str
    modules: tuple[str, ...]
    recipes: tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """What is wrong with a plug-in. ``part`` and ``module`` are set if it concerns only one of its parts."""

    origin: str
    text: str
    part: str = ""
    module: str = ""


@cache
def installed() -> dict[str, Plugin]:
    """The plug-ins on ``sys.path`` by name. Of two with one name the first wins, as in an import."""
    found: dict[str, Plugin] = {}
    for d in metadata.distributions():
        if f"[{GROUP}" not in (d.read_text("entry_points.txt") or ""):
            continue
        modules = tuple(e.module for e in d.entry_points if e.group == GROUP)
        recipes = tuple(e.module for e in d.entry_points if e.group == RECIPES)
        if modules or recipes:
            name = d.metadata["Name"]
            found.setdefault(name, Plugin(name, d.version, str(d.locate_file("")), modules, recipes))
    return dict(sorted(found.items()))


def recipe_packages() -> list[tuple[str, str]]:
    """[(distribution, package)] of the plug-ins that ship recipes."""
    return [(p.name, package) for p in installed().values() for package in p.recipes]


def load(origin: str) -> None:
    """Import every registering module of the plug-in: a part may live in a module that another one registers."""
    for module in installed()[origin].modules if origin in installed() else ():
        import_module(module)


def plugin_entries(own: dict[tuple[str, str], Entry]) -> tuple[dict[tuple[str, str], Entry], list[Fault]]:
    """Declare the kinds of all installed plug-ins. Returns ({(kind, name): Entry}, the faults found)."""
    faults: list[Fault] = []
    usable = [(p, record) for p in installed().values() if p.modules and _declared(p, record := indexed(p), faults)]
    found: dict[tuple[str, str], Entry] = {}
    for plugin, record in usable:  # after all kinds are known: a plug-in may bring parts of another one's kind
        for e in map(entry_from_json, record["entries"]):
            taken = own.get((e.kind, e.name)) or found.get((e.kind, e.name))
            if taken is not None:
                text = f"{e.label}: the name is taken twice, by {taken.origin} ({taken.module}) and by {plugin.name} ({e.module}); rename one"
                faults.append(Fault(plugin.name, text, e.label, e.module))
            elif e.kind not in KINDS:
                faults.append(
                    Fault(
                        plugin.name,
                        f"{e.label}: the plug-in that declares the kind {e.kind!r} is not usable",
                        e.label,
                        e.module,
                    )
                )
            else:
                found[e.kind, e.name] = e
    return found, faults


def _declared(plugin: Plugin, record: dict[str, Any], faults: list[Fault]) -> bool:
    """Declare the plug-in's kinds. False if another plug-in owns one of them: its import would fail, so none of its parts is
    usable."""
    faults.extend(Fault(plugin.name, text) for text in record["errors"])
    kinds = [Kind(k["name"], k["sentence"], tuple(k["sizes"]), plugin.name) for k in record["kinds"]]
    for k in kinds:
        there = KINDS.get(k.name, k)
        if (there.sentence, there.sizes) != (k.sentence, k.sizes):
            faults.append(
                Fault(plugin.name, f"kind {k.name!r} is declared twice, by {there.origin} and by {plugin.name}; rename one")
            )
            return False
    for k in kinds:
        KINDS.setdefault(k.name, k)
    return True


def indexed(plugin: Plugin) -> dict[str, Any]:
    """The plug-in's record: from the cache if everything it was made from is unchanged, else made anew."""
    store = cache_folder() / f"plugin-{plugin.name}-{zlib.crc32(sys.prefix.encode()):08x}.json"
    head = _head(plugin)
    try:
        record = read_cache(store, head)
        unchanged = record is not None and record["stamp"] == stamp(record["folders"], record["files"])
        if record is not None and unchanged and (not record["errors"] or record["paths"] == _path_times()):
            return record
    except (KeyError, TypeError):
        pass  # the record in the user's cache was edited: it is only a copy, and made anew below
    record = {**_ask_child(plugin), "paths": _path_times()}
    write_cache(store, head, record)
    return record


def _head(plugin: Plugin) -> list[Any]:
    here = Path(__file__).parent
    ours = [
        state_of(here / f)
        for f in (
            "plugins.py",
            "plugin_child.py",
            "registry.py",
            "entry.py",
            "signature.py",
            "option_types.py",
            "options.py",
            "kinds.py",
        )
    ]
    modules = [plugin.name, plugin.version, plugin.path, plugin.modules]
    return [FORMAT, sys.version, sys.prefix, modules, ours]


def _path_times() -> list[Any]:
    """Changes whenever something is installed, so that a plug-in that lacked a package is tried again."""
    return [[p, os.stat(p).st_mtime_ns] for p in sys.path if p and os.path.isdir(p)]


def _ask_child(plugin: Plugin) -> dict[str, Any]:
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", "-m", "components.core.plugin_child", plugin.name]
    failed = {"entries": [], "kinds": [], "errors": [], "files": [], **dict(zip(("folders", "files"), places(plugin.modules)))}
    failed["stamp"] = stamp(failed["folders"], failed["files"])
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return {**failed, "errors": [f"its import took longer than {PATIENCE} s"]}
    try:
        return json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {**failed, "errors": [f"its import ended the process (exit code {done.returncode}): {last}"]}


def places(modules: Iterable[str]) -> tuple[list[str], list[str]]:
    """(folders, files) of the whole package of each module, found without importing it."""
    folders: set[str] = set()
    files: set[str] = set()
    for module in modules:
        top, *rest = module.split(".")
        spec = find_spec(top)
        if spec is None:
            continue
        if spec.submodule_search_locations is None:
            files.add(str(spec.origin))
        elif spec.origin:
            folders.update(spec.submodule_search_locations)
        else:  # a namespace that several distributions share: this one's corner of it
            for corner in (os.path.join(location, *rest[:1]) for location in spec.submodule_search_locations):
                folders.update([corner] if os.path.isdir(corner) else [])
                files.update([corner + ".py"] if os.path.isfile(corner + ".py") else [])
    return sorted(folders), sorted(files)


def stamp(folders: Iterable[str], files: Iterable[str]) -> list[list[Any]]:
    """[path, *state_of(path)] of the files and of every ``.py`` below the folders, so that an added file is noticed."""
    paths = set(files)
    for folder in folders:
        for here, below, names in os.walk(folder):
            below[:] = [b for b in below if b != "__pycache__"]
            paths.update(os.path.join(here, n) for n in names if n.endswith(".py"))
    rows = []
    for path in sorted(paths):
        rows.append([path, *(state_of(path) if os.path.isfile(path) else ())])
    return rows
