"""Parts of other packages: the entry-point group ``components`` names the modules that register them."""

from __future__ import annotations

from typing import Any


def plugin_entries(own: dict[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    return {}
