"""What a word of the command line is, before it is read. Imports no torch."""

from __future__ import annotations

import os


def is_override(word: str) -> bool:
    """``key=value``, where a run may stand as well: what is there as a file or a folder is none, whatever its name. ``+key=value`` always is."""
    return "=" in word and not os.path.exists(os.path.expanduser(word))
