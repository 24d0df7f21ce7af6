"""Tables, lists and legends of the page. Whatever comes from a user goes through `svg.safe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files

from components import __version__
from components.studies.report.svg import dash_of, safe, variant_classes


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "", figures: int = 1) -> str:
    """A table whose columns from the ``figures``-th on are figures, to the right; it scrolls sideways where it is wide, by keyboard too."""
    kinds = [' class="n"' if i >= figures else "" for i in range(len(head))]
    top = "".join(f'<th scope="col"{k}>{safe(h)}</th>' for h, k in zip(head, kinds))
    lines = []
    for row in rows:
        cells = [f'<th scope="row">{safe(row[0])}</th>', *(f"<td{k}>{safe(c)}</td>" for c, k in zip(row[1:], kinds[1:]))]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    named = f"<caption>{safe(caption)}</caption>" if caption else ""
    return wide(f"<table>{named}<thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>", caption or head[0])


def wide(inside: str, name: str) -> str:
    return f'<div class="wide" tabindex="0" role="region" aria-label="{safe(name)}">{inside}</div>'


def section(name: str, title: str, *inside: str) -> str:
    return f'<section id="{name}"><h2>{safe(title)}</h2>{"".join(inside)}</section>'


def soft(text: str) -> str:
    return f'<p class="soft">{safe(text)}</p>'


def items(texts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{safe(t)}</li>' for t in texts)}</ul>"


def folded(summary: str, inside: str) -> str:
    return f"<details><summary>{safe(summary)}</summary>{inside}</details>"


def figure(picture: str, name: str) -> str:
    return f"<figure>{wide(picture, name)}</figure>"


def legend(names: Sequence[str]) -> str:
    """A box to tick for each variant, which hides its marks in all pictures: by style sheet alone."""
    boxes = []
    for i, name in enumerate(names):
        swatch = (
            f'<svg viewBox="0 0 30 12" aria-hidden="true" class="{variant_classes(i).split()[0]}">'
            f'<polyline class="curve" stroke-dasharray="{dash_of(i)}" points="0,6 30,6"/></svg>'
        )
        boxes.append(f'<label><input type="checkbox" checked id="show{i}">{swatch}{i} {safe(name)}</label>')
    return f'<fieldset class="legend"><legend>Shown in the pictures</legend>{"".join(boxes)}</fieldset>'


def hiding(n: int) -> str:
    """The style sheet's side of `legend`."""
    return "\n".join(f"body:has(#show{i}:not(:checked)) .v{i} {{ display: none; }}" for i in range(n))


def document(title: str, lead: str, sections: Mapping[str, tuple[str, str]], foot: str, *, hidden: int = 0) -> str:
    """A whole page in one file. ``sections``: {its anchor: (its title, what is inside)}, of which empty ones are left out; ``hidden``: boxes of `legend`."""
    shown = {name: made for name, made in sections.items() if made[1]}
    links = "".join(f'<a href="#{name}">{safe(made[0])}</a>' for name, made in shown.items())
    style = (files("components.studies.report") / "style.css").read_text(encoding="utf8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{safe(title)}</title>\n<style>\n{style}{hiding(hidden)}\n</style></head>\n"
        f"<body><header><h1>{safe(title)}</h1><p>{safe(lead)}</p>"
        f'<nav aria-label="Sections">{links}</nav></header>\n<main>\n'
        + "\n".join(section(name, *made) for name, made in shown.items())
        + f"\n</main>\n<footer><p>Made by components {safe(__version__)}. {safe(foot)}</p></footer></body></html>\n"
    )
