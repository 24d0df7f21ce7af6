"""List all kinds, or the parts of one kind, with a sentence each. Parts of plug-ins are marked with their package."""

from __future__ import annotations

import argparse
import json
from typing import Any

from components.core import layout, registry, terminal
from components.core.docstrings import unmarked
from components.core.errors import UserError, nearest
from components.core.resources import recipe_files, recipe_sentence

VERB = {
    "sentence": "the kinds, or the parts of a kind, one sentence each",
    "group": "look",
}

RECIPE = "recipe"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", metavar="KIND", help=f"a kind, or {RECIPE!r} for the recipes; all kinds if left out")
    parser.add_argument("--json", action="store_true", help="{kind: {name: {sentence, origin, ...}}}")


def run(args: argparse.Namespace) -> int:
    kinds = registry.kinds()
    if args.kind is not None and args.kind not in (*kinds, RECIPE):
        raise UserError(args.kind, "unknown kind", nearest(args.kind, [*kinds, RECIPE], called="kinds"))
    if args.json:
        terminal.show(json.dumps(as_data(args.kind), indent=1))
        return 0
    lines = overview() if args.kind is None else recipes() if args.kind == RECIPE else one_kind(args.kind)
    terminal.show("\n".join([*lines, *broken()]))
    return 0


def as_data(kind: str | None) -> dict[str, Any]:
    """{kind: {name: {sentence, origin, module, file, preset_of}}}, with recipes and broken plug-ins beside the kinds."""
    found: dict[str, Any] = {k: {} for k in registry.kinds() if kind in (None, k)}
    for (k, name), e in registry.entries(kind).items():
        found[k][name] = {
            "sentence": e.signature.sentence,
            "origin": e.origin,
            "module": e.module,
            "file": e.file,
            "preset_of": e.preset_of,
        }
    if kind in (None, RECIPE):
        files = recipe_files().items()
        found[RECIPE] = {name: {"sentence": recipe_sentence(f), "origin": whose, "file": str(f)} for name, (whose, f) in files}
    faults = registry.faults()
    if faults and kind is None:
        found["broken"] = {o: {"errors": [f.text for f in faults if f.origin == o]} for o in sorted({f.origin for f in faults})}
    return found


def overview() -> list[str]:
    rows = []
    for name, kind in registry.kinds().items():
        parts = registry.names(name)
        mark = "" if _is_ours(kind.origin) else f"  [{kind.origin}]"
        rows.append((name, str(len(parts)), kind.sentence + mark))
        if parts:
            rows.append(("", "", ", ".join(parts)))
    rows.append((RECIPE, str(len(recipe_files())), "a complete run in one short file"))
    rows += [("", "", line) for line in by_folder(list(recipe_files()))]
    more = "components list KIND says what each part is; components show KIND/NAME what it takes."
    return [*layout.table(rows, indent=0, head=("kind", "parts", "what it does, and its parts")), "", *layout.paragraph(more)]


def by_folder(names: list[str]) -> list[str]:
    """``known/  llama_tiny, gpt2_124m``: a line for each folder; names without a folder come first."""
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, slash, last = name.rpartition("/")
        folders.setdefault(folder + slash, []).append(last)
    return [f"{folder + '  ' if folder else ''}{', '.join(held)}" for folder, held in sorted(folders.items())]


def one_kind(kind: str) -> list[str]:
    rows = []
    for e in registry.entries(kind).values():
        mark = f"  = {preset_words(e)}" if e.preset_of else ""
        mark += "" if _is_ours(e.origin) else f"  [{e.origin}]"
        rows.append((e.name, unmarked(e.signature.sentence) + mark))
    lines = layout.paragraph(f"{kind}: {registry.kinds()[kind].sentence}")
    return [*lines, "", *(layout.table(rows, limit=44) or ["  no parts yet"])]  # a name stays whole


def recipes() -> list[str]:
    rows = [
        (name, recipe_sentence(f) + ("" if _is_ours(whose) else f"  [{whose}]")) for name, (whose, f) in recipe_files().items()
    ]
    return layout.table(rows, indent=0) or ["no recipes"]


def preset_words(entry: registry.Entry) -> str:
    """``gqa n_kv_heads=1``: the options that a preset sets."""
    base = registry.entry(entry.kind, entry.preset_of).signature.options
    own = {n: o.default for n, o in entry.signature.options.items()}
    return " ".join([entry.preset_of, *(f"{n}={layout.value(v)}" for n, v in own.items() if v != base[n].default)])


def broken() -> list[str]:
    """Plug-ins that could not be loaded, each with its error."""
    lines = []
    for f in registry.faults():
        lines += ["", *layout.paragraph(f"broken plug-in {f.origin}: {f.text}")]
    return lines


def _is_ours(origin: str) -> bool:
    return origin.split(".")[0] == "components"
