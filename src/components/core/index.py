"""The parts of this package, read from their source by ``ast`` without importing them, and kept in a cache."""

from __future__ import annotations

import ast
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from components.core import kinds  # noqa: F401  the built-in kinds declare themselves
from components.core.cache_file import cache_folder, read_cache, state_of, write_cache
from components.core.docstrings import sentence
from components.core.entry import KINDS, Entry, entry_from_json, spelled_preset
from components.core.signature import Signature
from components.core.source import Module, Sources

CORE = Path(__file__).parent
HOMES = (CORE.parent / "parts", CORE.parent / "training")  # what knows Lightning, the kind task, is not among the parts
FORMAT = 5  # of the cache file
READERS = (
    "index",
    "signature",
    "option_types",
    "options",
    "aliases",
    "source",
    "docstrings",
    "entry",
)  # a change in how parts are read


def own_entries() -> dict[tuple[str, str], Entry]:
    """The parts of this package: one file each, ``<kind>/<name>.py``."""
    files = sorted(f for kind in KINDS for home in HOMES for f in (home / kind).glob("*.py") if not f.name.startswith("_"))
    stamp = [FORMAT, _states([*files, *(CORE / f"{name}.py" for name in READERS)])]
    store = cache_folder() / "own.json"
    held = read_cache(store, stamp)
    # what the parts build on lies in other files, which only reading them names
    if held is None or _states([Path(f) for f, *_ in held["bases"]]) != held["bases"]:
        sources = Sources({"components": CORE.parent})
        rows = [asdict(e) for e in read_sources(files, sources)]
        held = {"rows": rows, "bases": _states(sorted(set(sources.read) - set(files)))}
        write_cache(store, stamp, held)
    return {(e.kind, e.name): e for e in map(entry_from_json, held["rows"])}


def _states(files: list[Path]) -> list[list[Any]]:
    return [[str(f), *(state_of(f) if f.is_file() else ())] for f in files]


def read_sources(files: list[Path], sources: Sources) -> list[Entry]:
    """Entries of part files of this package, presets last since they build on others."""
    found: dict[tuple[str, str], Entry] = {}
    presets: list[tuple[ast.Call, str, Path]] = []
    for file in files:
        module = sources.of_file(file, ".".join(("components", *file.relative_to(CORE.parent).with_suffix("").parts)))
        for node in module.tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                for call in (d for d in node.decorator_list if isinstance(d, ast.Call) and ast.unparse(d.func) == "register"):
                    e = _entry(call, node, module, str(file))
                    found[e.kind, e.name] = e
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "preset":
                presets.append((node.value, module.doc, file))
    for call, module_doc, file in presets:
        kind, name = (ast.literal_eval(a) for a in call.args)
        options = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
        base = found[kind, options.pop("of")]
        e = spelled_preset(base, name, options, sentence(module_doc))
        found[kind, name] = replace(e, signature=replace(e.signature, doc=module_doc), file=str(file))
    return list(found.values())


def _entry(call: ast.Call, node: ast.ClassDef | ast.FunctionDef, module: Module, file: str) -> Entry:
    kind, name = (ast.literal_eval(a) for a in call.args)
    extra = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    try:
        signature = Signature.of_node(node, module)
    except ValueError as e:
        raise ValueError(f"{file}: {node.name}: {e}") from None
    return Entry(
        kind,
        name,
        signature,
        module.name,
        node.name,
        "components",
        tuple(extra.get("was", ())),
        dict(extra.get("renamed", {})),
        file=file,
    )
