"""An object of the page's JSON as a dataclass."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from components.explain.pack import key_of

MAY_LACK = {"left_out": True}  # metadata of a field: its key is left out of the JSON where the value is None


class Record:
    """An object of the trace. ``record["key"]`` reads it by the key of the page's JSON, as ``record.key`` does."""

    def __getitem__(self, key: str) -> Any:
        for f in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            if key_of(f) == key:
                return getattr(self, f.name)
        raise KeyError(key)
