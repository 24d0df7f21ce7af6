"""What a notebook shows of our objects: small tables, escaped, in the notebook's own colours, so that they read on light and on dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

MOST_ROWS = 200  # of a table; a notebook keeps its outputs
CELL = "text-align:left;padding:.15em .8em .15em 0;vertical-align:top;color:inherit;background:none"


def table(rows: Sequence[Sequence[object]], head: Sequence[str] = (), *, title: str = "") -> str:
    """Rows as an HTML table. Cells are texts; spaces at the beginning of one stay, as an indent. Figures stand on the right."""
    shown = [[str(cell) for cell in row] for row in rows[:MOST_ROWS]]
    lines = (
        [f"<caption style='text-align:left;font-weight:bold;color:inherit;white-space:nowrap'>{escape(title)}</caption>"]
        if title
        else []
    )
    if head:
        lines.append(f"<tr>{''.join(map(_head, head))}</tr>")
    lines += [f"<tr>{''.join(map(_cell, row))}</tr>" for row in shown]
    more = f"<div>and {len(rows) - MOST_ROWS:,} more</div>" if len(rows) > MOST_ROWS else ""
    return f"<div><table style='border-collapse:collapse;font-size:90%'>{''.join(lines)}</table>{more}</div>"


def _head(text: str) -> str:
    return f'<th style="{CELL}">{escape(text)}</th>'


def _cell(text: str) -> str:
    indent = len(text) - len(text.lstrip(" "))
    number = text.replace(",", "").replace(".", "", 1).strip().isdigit()
    style = f"{CELL};padding-left:{indent * 0.6:.1f}em" if indent else f"{CELL};text-align:right" if number else CELL
    return f'<td style="{style}">{escape(text.strip())}</td>'


def picture(png: bytes, called: str) -> str:
    """A PNG in the page itself."""
    from base64 import b64encode

    return f'<img alt="{escape(called)}" style="max-width:100%" src="data:image/png;base64,{b64encode(png).decode()}">'


def frame(page: str, *, height: int = 640) -> str:
    """A whole page inside a notebook, with its own styles and scripts, which reach nothing outside."""
    style = f"width:100%;height:{height}px;border:1px solid #8888"
    return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{escape(page)}"></iframe>'
