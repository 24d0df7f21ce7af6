"""One part: what it is, what it takes, and which recipes use it. Or a recipe: its tree of parts, every value (--full), how it is computed (--kernels)."""

from __future__ import annotations

import argparse
import inspect
import json
import re
from pathlib import Path

from components.cli.list import one_kind, preset_words
from components.compose.recipes import all_recipes
from components.compose.used_parts import recipes_with
from components.core import layout, registry, terminal
from components.core.docstrings import unmarked
from components.core.errors import UserError
from components.core.option_types import Type
from components.core.signature import REQUIRED

VERB = {
    "sentence": "one part's parameters, or a recipe's tree of parts",
    "group": "look",
    "takes": ("recipe", "overrides"),
}

FEW = 5  # recipes that are named for a part; a part that most use would fill the screen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="KIND/NAME | recipe=NAME", help="a part (attention/gqa), a kind, or a recipe")
    parser.add_argument("overrides", nargs="*", metavar="override", help="with a recipe: group=part, path.option=value")
    parser.add_argument("--full", action="store_true", help="with a recipe: every value, and where it comes from")
    parser.add_argument(
        "--kernels", action="store_true", help="with a recipe: which kernel each operation takes on this machine, and why"
    )
    parser.add_argument(
        "--measure", action="store_true", help="with a part: its parameters and FLOPs in a small model (imports torch)"
    )
    parser.add_argument("--json", action="store_true", help="as data")


def run(args: argparse.Namespace) -> int:
    words = [args.what, *args.overrides]
    if any("=" in w for w in words):
        if args.measure:
            raise UserError("show", "--measure is for parts", "components validate counts a recipe's parameters")
        from components.cli.show_recipe import show

        return show(words, full=args.full, kernels=args.kernels, as_json=args.json)
    if args.overrides:
        raise UserError("show", f"one part at a time, not {' '.join(words)}", "components show KIND/NAME")
    for flag in (f for f in ("full", "kernels") if getattr(args, f)):
        raise UserError("show", f"--{flag} is for recipes", f"components show recipe=NAME --{flag}")
    kind, slash, name = args.what.rpartition("/")
    if not slash and name in registry.kinds() and not args.json and not args.measure:
        terminal.show("\n".join(one_kind(name)))
        return 0
    if not slash or (kind not in registry.kinds() and args.what in all_recipes(Path.cwd())):
        raise UserError(args.what, "a part is named KIND/NAME", meant(args.what))
    e = registry.entry(kind.rpartition("/")[2], name)  # model/attention/gqa, as on the command line, means the same
    size = measured(e) if args.measure else {}
    if args.json:
        terminal.show(json.dumps({**as_data(e), **({"measured": size} if size else {})}, indent=1))
        return 0
    terminal.show("\n".join(as_text(e)))
    if size:
        flops = f"{size['executed']:,} executed, {size['algorithm']:,} by the algorithm"
        rows = {"parameters": f"{size['parameters']:,}", "FLOPs per token": flops, "measured": size["shape"]}
        terminal.show("\n".join(f"{name:<21}  {text}" for name, text in rows.items()))
    return 0


def meant(name: str) -> str:
    """What a name that is no KIND/NAME may mean: a recipe, or parts of that name."""
    labels = [f"recipe={name}"] * (name in all_recipes(Path.cwd())) + registry.labelled(name)
    return f"did you mean {' or '.join(labels)}?" if labels else "components list says which there are; a recipe is recipe=NAME"


def measured(e: registry.Entry) -> dict[str, int | str]:
    """Parameters and FLOPs per token of one instance in the battery's small model, built on the meta device."""
    from components.check.measure import figures_of
    from components.check.subject import subject_of

    f = figures_of(subject_of(e.label))
    per_token = {"executed": round(f.executed / f.length), "algorithm": round(f.algorithm / f.length)}
    return {"parameters": f.parameters, **per_token, "shape": f"one of it with what stands in its sockets, {f.shape}"}


def as_data(e: registry.Entry) -> dict[str, object]:
    s = e.signature
    options = {
        o.name: {
            "type": o.type.text,
            "allowed": o.type.described() or o.type.text,
            "default": o.default,
            "required": o.default == REQUIRED,
            "doc": o.doc,
            "socket": o.type.kind,
        }
        for o in s.options.values()
    }
    return {
        "kind": e.kind,
        "name": e.name,
        "sentence": s.sentence,
        "papers": papers(s.doc),
        "doc": s.doc,
        "sizes": {n: {"required": required} for n, required in s.sizes.items()},
        "options": options,
        "declared": s.declared,
        "preset_of": e.preset_of,
        "was": list(e.was),
        "recipes": recipes_with(e.label),
        "origin": e.origin,
        "module": e.module,
        "class": e.qualname,
        "file": e.file,
    }


def as_text(e: registry.Entry) -> list[str]:
    s = e.signature
    lines = [layout.styled(e.label, "bold"), *layout.paragraph(unmarked(s.sentence), indent=2)]
    lines += [line for p in papers(s.doc) for line in layout.paragraph(unmarked(p), indent=2)]
    rows = []
    for o in s.options.values():
        default = "required" if o.default == REQUIRED else layout.value(o.default)
        rows.append((o.name, allowed(o.type), default, unmarked(o.doc)))
    lines += ["", "options", *(layout.table(rows, head=("name", "allowed", "default", "what it does")) or ["  none"])]
    facts = []
    if s.sizes:
        facts.append(
            ("sizes from its parent", ", ".join(n if required else f"{n} (if there is one)" for n, required in s.sizes.items()))
        )
    if e.preset_of:
        facts.append(("preset", f"spells out {preset_words(e)}"))
    facts += [(name.replace("_", " "), layout.value(v)) for name, v in s.declared.items()]
    facts += [("earlier names", ", ".join(e.was))] if e.was else []
    facts.append(("recipes that use it", few(recipes_with(e.label))))
    facts.append(("from", f"{e.origin}  {e.module}:{e.qualname}"))
    return [*lines, "", *layout.table(facts, indent=0), *([f"{'file':<21}  {e.file}"] if e.file else [])]


def few(names: list[str]) -> str:
    """The first five, and how many there are; ``--json`` has them all."""
    more = f" and {len(names) - FEW} more (--json has all {len(names)})" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more if names else "none"


def allowed(type_: Type) -> str:
    """For a socket the kind that goes in, else what the value may be."""
    if type_.kind is None:
        return type_.described() or type_.text
    return f"{'list of ' if type_.many else ''}{type_.kind}{' or null' if type_.optional else ''}"


def papers(doc: str) -> list[str]:
    """The lines of the docstring that name a source: arXiv, doi, an address, or authors with a year."""
    source = re.compile(r"arXiv|doi|https?://|\b[A-Z][\w'-]+ (et al\.?|& [A-Z][\w'-]+)?,? ?\(?(19|20)\d\d\b", re.I)
    found = dict.fromkeys(line.strip() for line in inspect.cleandoc(doc).splitlines() if source.search(line))
    return list(found)
