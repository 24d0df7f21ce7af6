"""The parts of this package, read from their source by ``ast`` without importing them, and kept in a cache."""

from __future__ import annotations

import ast
from dataclasses import asdict, replace
from pathlib import Path

from components.core import kinds  # noqa: F401  the built-in kinds declare themselves
from components.core.cache_file import cache_folder, read_cache, state_of, write_cache
from components.core.entry import KINDS, Entry, entry_from_json, spelled_preset
from components.core.signature import Signature, sentence

CORE = Path(__file__).parent
HOMES = (CORE.parent / "parts", CORE.parent / "training")  # what knows Lightning, the kind task, is not among the parts
FORMAT = 3  # of the cache file


def own_entries() -> dict[tuple[str, str], Entry]:
    """The parts of this package: one file each, ``<kind>/<name>.py``."""
    files = sorted(f for kind in KINDS for home in HOMES for f in (home / kind).glob("*.py") if not f.name.startswith("_"))
    stamp = [
        FORMAT,
        [
            [str(f), *state_of(f)]
            for f in (*files, Path(__file__), CORE / "signature.py", CORE / "option_types.py", CORE / "entry.py")
        ],
    ]
    store = cache_folder() / "own.json"
    rows = read_cache(store, stamp)
    if rows is None:
        rows = [asdict(e) for e in read_sources(files)]
        write_cache(store, stamp, rows)
    return {(e.kind, e.name): e for e in map(entry_from_json, rows)}


def read_sources(files: list[Path]) -> list[Entry]:
    """Entries of part files of this package, presets last since they build on others."""
    found: dict[tuple[str, str], Entry] = {}
    presets: list[tuple[ast.Call, str, Path]] = []
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf8"), str(file))
        module = ".".join(("components", *file.relative_to(CORE.parent).with_suffix("").parts))
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
) -> Entry:
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
