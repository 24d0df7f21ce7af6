"""Sections of docs/performance.md, or of another page, each between the marks of the bench that writes it."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def placed(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` between the marks of ``name``; at the end where it has none yet."""
    begin, end = f"<!-- written by bench/{name}.py -->", f"<!-- end of {name} -->"
    before, _, rest = page.partition(begin)
    after = rest.partition(end)[2].strip()
    return f"{before.rstrip()}\n\n{begin}\n\n{text.strip()}\n\n{end}\n" + (f"\n{after}\n" if after else "")


def put(name: str, text: str, page: Path = PAGE) -> None:
    page.write_text(placed(page.read_text(encoding="utf8"), name, text), encoding="utf8")
