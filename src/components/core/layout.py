"""Plain, aligned, wrapped text for the terminal; colour only where a person reads it. Imports no torch."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence

from components.core import terminal

LEAST = 24  # columns that the last one of a table gets, if it wants so many
NUMBER = re.compile(r"(-|-?[\d,.]+(e[+-]?\d+)?%?)?")  # a figure, or none
STYLES = {"bold": "1", "dim": "2", "red": "31", "cyan": "36"}


def width() -> int:
    """Of the terminal, at most 120 columns, or 100 where there is none."""
    return max(40, min(120, shutil.get_terminal_size((100, 24)).columns))


def coloured() -> bool:
    """Only on a terminal, and not under NO_COLOR (no-color.org) or TERM=dumb."""
    return terminal.is_live(sys.stdout) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, style: str) -> str:
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if coloured() else text


def table(rows: Sequence[Sequence[str]], *, indent: int = 2, head: Sequence[str] = (), limit: int = 34) -> list[str]:
    """Columns side by side, each as wide as its longest cell up to ``limit``, figures to the right; the last one takes the rest and wraps."""
    rows = [tuple(map(str, r)) for r in rows]
    if not rows:
        return []
    shown = [tuple(head), *rows] if head else rows
    widths = [min(limit, max(len(r[i]) for r in shown)) for i in range(len(rows[0]) - 1)]
    last = min(LEAST, max(len(r[-1]) for r in shown))
    words = [max((len(w) for r in shown for w in r[i].split()), default=0) for i in range(len(widths))]
    # the widest gives way, so that the last has room to wrap in: between words, if that is enough; what a row is called stays whole
    for least in (words, [*words[:1], *([LEAST // 2] * len(widths[1:]))]):
        while sum(widths) + 2 * len(widths) + indent + last > width():
            wide = [i for i, w in enumerate(widths) if w > least[i]]
            if not wide:
                break
            widths[max(wide, key=lambda i: widths[i])] -= 1
    numeric = [all(NUMBER.fullmatch(r[i]) for r in rows) and any(r[i] for r in rows) for i in range(len(widths))]
    start = indent + sum(w + 2 for w in widths)
    lines = []
    for number, row in enumerate(shown):
        cells = [_wrap(c, w) for c, w in zip(row, widths)] + [_wrap(row[-1], max(LEAST, width() - start))]
        for i in range(max(map(len, cells))):
            texts = [c[i] if i < len(c) else "" for c in cells]
            padded = [t.rjust(n) if right else t.ljust(n) for t, n, right in zip(texts, widths, numeric)]
            if head and number == 0:
                padded, texts[-1] = [styled(p, "dim") for p in padded], styled(texts[-1], "dim")
            elif padded and i == 0:
                padded[0] = styled(padded[0], "bold")
            lines.append((" " * indent + "  ".join([*padded, texts[-1]])).rstrip())
    return lines


def paragraph(text: str, *, indent: int = 0) -> list[str]:
    return textwrap.wrap(
        text,
        width(),
        initial_indent=" " * indent,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]


def _wrap(text: str, columns: int) -> list[str]:
    return textwrap.wrap(text, max(1, columns), break_on_hyphens=False) or [""]


def value(v: object) -> str:
    """As it is written on the command line: null, true, a list in brackets."""
    if v is None:
        return "null"
    if isinstance(v, bool):
        return str(v).lower()
    if isinstance(v, (list, tuple)):
        return f"[{','.join(map(value, v))}]"
    if isinstance(v, dict):
        return f"{{{', '.join(f'{k}: {value(x)}' for k, x in v.items())}}}"
    return str(v) if v != "" else "''"
