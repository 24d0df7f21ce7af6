"""A recipe as it will be built: the tree of parts, the parameters of each, and with ``full`` every value with its origin."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import yaml

from components.compose.node import Node
from components.core import layout, terminal
from components.core.resources import recipe_files, recipe_sentence

if TYPE_CHECKING:
    from components.functional.chosen import Choice


def show(words: list[str], *, full: bool, kernels: bool, as_json: bool) -> int:
    from components.compose import compose

    composed = compose(None, words)

    from components.cli.measure import tree, vocabulary
    from components.core.meta import on_meta
    from components.core.model_tree import as_text

    size = vocabulary(composed.config)
    row = tree(on_meta(composed.config, size.size))
    sentence = recipe_sentence(recipe_files()[composed.recipe][1]) if composed.recipe in recipe_files() else ""
    found: dict[str, list[Choice]] = {}
    if kernels:
        from components.training.estimate.kernels import kernels_of

        found = kernels_of(composed.config, size.size)
    if as_json:
        data = {"recipe": composed.recipe, "sentence": sentence, "parameters": row.parameters, "vocabulary": size.size}
        data |= {"tree": row.as_data(), "config": composed.config, "difference": composed.difference}
        if kernels:
            data["kernels"] = {when: [choice._asdict() for choice in choices] for when, choices in found.items()}
        terminal.show(json.dumps({**data, "origins": composed.origins}, indent=1))
        return 0
    terminal.show(layout.styled(f"recipe {composed.recipe}", "bold"))
    for line in [*(layout.paragraph(sentence, indent=2) if sentence else []), "", *as_text(row), "", *beside(composed.tree)]:
        terminal.show(line)
    counted = "; the parameters above are counted with it, a trained or downloaded tokenizer may have more" if size.note else ""
    terminal.show(f"\nvocabulary: {size.size:,}{f' ({size.note})' if size.note else ''}{counted}")
    for line in [*composed.difference, *composed.notes]:
        terminal.show(f"  {line}")
    for when, choices in found.items():
        rows = [tuple(choice) for choice in choices]
        terminal.show("\n".join(["", *layout.table(rows, head=(f"kernels, {when}", "taken", "why"))]))
    if kernels:
        terminal.show("\nWhatever else is computed has one way on this device: torch's own, or that of its part.")
    if full:
        terminal.show()
        for line in spelled(composed.config, composed.origins):
            terminal.show(line)
    return 0


def beside(tree: Node) -> list[str]:
    """The parts of a run that are no part of the network, each with the options that are not at their defaults."""
    rows = []
    for part in tree.sockets.values():
        if part.kind != "model":
            held = part.spelled()
            other = {n: held[n] for n, o in part.options.items() if held[n] != o.default and not isinstance(held[n], dict)}
            rows.append((part.label, " ".join(f"{n}={layout.value(v)}" for n, v in other.items())))
    return layout.table(rows, indent=0)


def spelled(config: Mapping[str, object], origins: dict[str, str]) -> list[str]:
    """The config as YAML that can be read back, each value's origin as a comment."""
    lines = list(_lines(config, "", 0, origins))
    start = min(72, max((len(text) for text, _ in lines), default=0)) + 2
    return [f"{text:<{start}}# {origin}" if origin else text for text, origin in lines]


def _lines(node: Mapping[str, object], path: str, depth: int, origins: dict[str, str]) -> Iterator[tuple[str, str]]:
    for key, v in node.items():
        here = f"{path}.{key}".lstrip(".")
        name = yaml.safe_dump(str(key) if not isinstance(key, str) else key).split("\n")[0]
        if isinstance(v, dict) and v:
            yield f"{'  ' * depth}{name}:", origins.get(here, "")
            yield from _lines(v, here, depth + 1, origins)
        else:
            text = yaml.safe_dump(v, default_flow_style=True, width=10**6, allow_unicode=True).removesuffix("...\n").strip()
            yield f"{'  ' * depth}{name}: {text}", origins.get(here, "")
