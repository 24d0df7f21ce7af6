"""One text and where it came from: what every data source yields."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Document:
    """A text that stays together: it belongs to one split, and its positions never see another document.

    Bytes that are not UTF-8 arrive as lone surrogates (``errors="surrogateescape"``), which cleaning counts and locates.

    Args:
        text: the text, newlines as ``\\n``.
        origin: the file, or another hint where to look.
        line: the line of ``origin`` where the text starts, from 1; 0 where lines have no meaning.
        source: of a mixture, the part that it is from.
    """

    text: str
    origin: str
    line: int = 0
    source: str = ""

    @property
    def where(self) -> str:
        """``file:line``, or the file alone."""
        return f"{self.origin}:{self.line}" if self.line else self.origin
