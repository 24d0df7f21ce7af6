"""What the site makes from the source when it is built: the page of each command and of each kind's contract, and the order of generated pages."""

from __future__ import annotations

import inspect
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT / "src") not in sys.path:
    sys.path.insert(0, str(ROOT / "src"))  # the site is of this checkout


def commands() -> str:
    """Every command, by group: its help, as the terminal prints it."""
    from components.cli import parser_of
    from components.cli.verbs import verbs

    lines: list[str] = []
    group = ""
    for name, verb in verbs().items():
        if verb.group != group:
            group = verb.group
            lines += [f"## {group[0].upper()}{group[1:]}", ""]
        lines += [f"### {name}", "", f"{verb.sentence}", "", "```text", parser_of(name).format_help().rstrip(), "```", ""]
    return "\n".join(lines)


def contracts() -> str:
    """Every kind: what it is, the sizes that parents offer, the type that parts of it satisfy."""
    from components.core import registry
    from components.core.contracts import CONTRACTS, Part

    lines = ["## Every part", "", "```py", inspect.getsource(Part).rstrip(), "```", ""]
    for name, kind in registry.kinds().items():
        if kind.origin.partition(".")[0] != "components":
            continue
        sizes = ", ".join(f"`{size}`" for size in kind.sizes) or "none"
        lines += [f"## {name}", "", f"{kind.sentence[0].upper()}{kind.sentence[1:]}.", ""]
        lines += [f"Sizes that parents offer: {sizes}. [Parts of this kind](../catalogue/{name}.md).", ""]
        if contract := CONTRACTS.get(name):
            lines += ["```py", inspect.getsource(contract).rstrip(), "```", ""]
    return "\n".join(lines)


def pages_of(folder: str) -> str:
    """Every page of a folder, by its title."""
    pages = [p for p in sorted((ROOT / "docs" / folder).glob("*.md")) if p.name not in ("index.md", "README.md")]
    return "\n".join(f"- [{p.read_text(encoding='utf8').splitlines()[0].lstrip('# ')}]({p.name})" for p in pages)


def counts() -> str:
    """How many parts each kind has."""
    from components.core import registry

    names: dict[str, int] = {}
    for kind, _ in registry.entries():
        names[kind] = names.get(kind, 0) + 1
    kinds = [f"{names[kind]} [{kind}](catalogue/{kind}.md)" for kind in registry.kinds() if kind in names]
    return f"{sum(names.values())} parts of {len(kinds)} kinds: {', '.join(kinds)}."


def small_tasks() -> str:
    """The table of attentions, as the page of small tasks has it."""
    page = (ROOT / "docs" / "small_tasks.md").read_text(encoding="utf8")
    return re.search(r"## Attentions.*?\n\n(\|.*?)\n\n", page, re.S)[1]  # type: ignore[index]  # the page is made by a script


def api() -> str:
    """Every public name, by what defines it: `components` itself imports nothing until a name is used."""
    import components

    lines: list[str] = []
    modules = getattr(components, "_MODULES", {})
    for name in sorted((n for n in components.__all__ if n != "__version__"), key=str.lower):
        target = modules.get(name) or f"{components._PUBLIC[name]}.{name}"
        lines += [f'<a id="components.{name}"></a>', "", f"::: {target}", "    options:"]
        lines += [f"      heading: components.{name}", f"      toc_label: {name}", "      heading_level: 2", ""]
    return "\n".join(lines)


MADE = {
    "api": api,
    "commands": commands,
    "contracts": contracts,
    "counts": counts,
    "small_tasks": small_tasks,
    **{folder: partial(pages_of, folder) for folder in ("concepts", "decisions", "how_to")},
}


FOLDERS = {"Tutorials": "tutorials", "How to": "how_to", "Concepts": "concepts", "Reference": "reference"}
FOLDERS |= {"Catalogue": "catalogue", "Decisions": "decisions"}


def on_config(config: Any) -> Any:
    """A section of the navigation ends with the pages of its folder that it does not name: the catalogue and the decisions name none."""
    named = set(re.findall(r"[\w/]+\.md", str(config["nav"])))

    def complete(entries: list[Any]) -> None:
        for title, inner in (pair for entry in entries if isinstance(entry, dict) for pair in entry.items()):
            if not isinstance(inner, list):
                continue
            complete(inner)
            if folder := FOLDERS.get(title):
                pages = (f"{folder}/{p.name}" for p in sorted((ROOT / "docs" / folder).glob("*.md")))
                inner += [page for page in pages if page not in named]

    complete(config["nav"])
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """``<!-- made: commands -->`` becomes what ``commands`` makes."""
    return re.sub(r"<!-- made: (\w+) -->", lambda found: MADE[found[1]](), markdown)
