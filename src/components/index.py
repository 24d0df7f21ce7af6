"""What is registered, read from source without importing it: ours by ``ast``, plug-ins' by a child process, both cached.

The cache is keyed by the state of every file that it was made from (size, inode, times of writing and of change), so it is never stale: archives set
the time of writing as they like, the time of change no program can.
"""

from __future__ import annotations

import ast
import json
import os
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.files import make_folder, write_json
from components.signature import Signature, sentence

ROOT = Path(__file__).parent
FORMAT = 3  # of the cache file


def cache_folder() -> Path:
    """The user's cache of this package: ``$COMPONENTS_CACHE``, else ``$XDG_CACHE_HOME/components``, else ``~/.cache/components``."""
    own = os.environ.get("COMPONENTS_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "components"


@cache
def static_entries() -> dict[tuple[str, str], Any]:
    """{(kind, name): Entry} of this package and of installed plug-ins, without importing any of them."""
    from components.plugins import plugin_entries

    own = own_entries()
    return {**own, **plugin_entries(own)}


def own_entries() -> dict[tuple[str, str], Any]:
    """The parts of this package: one file each, ``<kind>/<name>.py``."""
    from components.registry import KINDS

    files = sorted(f for kind in KINDS for f in (ROOT / kind).glob("*.py") if not f.name.startswith("_"))
    stamp = [
        FORMAT,
        [
            [str(f), *state_of(f)]
            for f in (*files, Path(__file__), ROOT / "signature.py", ROOT / "option_types.py", ROOT / "registry.py")
        ],
    ]
    store = cache_folder() / "own.json"
    rows = read_cache(store, stamp)
    if rows is None:
        rows = [asdict(e) for e in read_sources(files)]
        write_cache(store, stamp, rows)
    return {(e.kind, e.name): e for e in map(entry_from_json, rows)}


def read_sources(files: list[Path]) -> list[Any]:
    """Entries of part files of this package, presets last since they build on others."""
    from components.registry import spelled_preset

    found: dict[tuple[str, str], Any] = {}
    presets: list[tuple[ast.Call, str, Path]] = []
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf8"), str(file))
        module = ".".join(("components", file.parent.name, file.stem))
        module_doc = ast.get_docstring(tree) or ""
        classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
        for node in tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                for call in (d for d in node.decorator_list if isinstance(d, ast.Call) and ast.unparse(d.func) == "register"):
                    e = _entry(call, node, module, module_doc, classes, str(file))
                    found[e.kind, e.name] = e
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "preset":
                presets.append((node.value, module_doc, file))
    for call, module_doc, file in presets:
        kind, name = (ast.literal_eval(a) for a in call.args)
        options = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
        base = found[kind, options.pop("of")]
        e = spelled_preset(base, name, options, sentence(module_doc))
        found[kind, name] = replace(e, signature=replace(e.signature, doc=module_doc), file=str(file))
    return list(found.values())


def _entry(
    call: ast.Call,
    node: ast.ClassDef | ast.FunctionDef,
    module: str,
    module_doc: str,
    classes: dict[str, ast.ClassDef],
    file: str,
) -> Any:
    from components.registry import Entry

    kind, name = (ast.literal_eval(a) for a in call.args)
    extra = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    try:
        signature = Signature.of_node(node, module_doc, classes)
    except ValueError as e:
        raise ValueError(f"{file}: {node.name}: {e}") from None
    return Entry(
        kind,
        name,
        signature,
        module,
        node.name,
        "components",
        tuple(extra.get("was", ())),
        dict(extra.get("renamed", {})),
        file=file,
    )


def state_of(file: str | Path) -> list[int]:
    """[size, time of writing, inode, time of change]: equal as long as nobody has written to the file. OSError where there is none."""
    held = os.stat(file)
    return [held.st_size, held.st_mtime_ns, held.st_ino, held.st_ctime_ns]


def entry_from_json(row: dict[str, Any]) -> Any:
    from components.registry import Entry

    return Entry(
        **{**row, "signature": Signature.from_json(row["signature"]), "was": tuple(row["was"]), "sets": tuple(row["sets"])}
    )


def read_cache(store: Path, stamp: Any) -> Any:
    """The rows that were stored under exactly this stamp, or None."""
    try:
        held = json.loads(store.read_text(encoding="utf8"))
        return held["rows"] if held["stamp"] == json.loads(json.dumps(stamp)) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_cache(store: Path, stamp: Any, rows: Any) -> None:
    """Whole or not at all; a folder that cannot be written only costs the time."""
    with suppress(UserError):
        make_folder(store.parent)
        write_json(store, {"stamp": stamp, "rows": rows}, indent=None)
