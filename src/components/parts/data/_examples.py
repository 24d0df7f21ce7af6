"""A row as an example: what sources of the user's own files and of Hugging Face's share."""

from __future__ import annotations

from collections.abc import Sequence

from components.core.errors import UserError, nearest
from components.corpus.example import Example
from components.parts.data._tables import Row


def labelled(split: str | None, row: Row, text: str, label: str, labels: Sequence[str]) -> Example:
    """A text with its label. UserError for a label that is not among ``labels``, where there are any."""
    return Example(row.text(text, "text") or "", label_of(row, label, labels), row.origin, row.line, split)


def label_of(row: Row, label: str, labels: Sequence[str]) -> str | None:
    """The label as text without spaces around it, ``3`` for 3; None where the cell is empty. UserError for one that is not among ``labels``."""
    value = row.cell(label, "label")
    if isinstance(value, float) and (value != value or value.is_integer()):  # whole numbers, where a table has gaps
        value = None if value != value else int(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, (str, int)):
        what = f"field {label!r} is no label but {type(value).__name__}"
        raise UserError(row.where, what, "labels are texts or whole numbers")
    said = str(value).lower() if isinstance(value, bool) else str(value).strip()
    if labels and said not in labels:
        raise UserError(row.where, f"the label {said!r} is none of data.labels", nearest(said, labels, called="labels"))
    return said


def paired(split: str | None, row: Row, source: str, target: str) -> Example:
    """A text and the text that answers it."""
    return Example(row.text(source, "source") or "", row.text(target, "target"), row.origin, row.line, split)
