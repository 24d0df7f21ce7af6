"""Translation catalogues of gettext (``*.mo``): where they lie on this machine, and what is in them."""

from __future__ import annotations

import os
import re
import site
import struct
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from components.core.errors import UserError
from components.core.extras import lacking

HEADER = ""  # the message that describes the catalogue itself
CHARSET = re.compile(rb"charset=([\w.:-]+)")
# a string with a place to fill in, a tag, or an entity is no sentence of a language alone
MARKED = re.compile(r"%[(\w.#-]|\{[^}]*\}|<[^>]+>|&\w+;|\$\w|\n|\\[nt]")
Message = tuple[str, list[str]]  # the English message (of a plural: the singular), its translations (of a plural: each form)


def roots() -> list[str]:
    """Where Python's packages and the system's programs keep their catalogues."""
    found = [
        *site.getsitepackages(),
        site.getusersitepackages(),
        os.path.join(sys.prefix, "share", "locale"),
        "/usr/share/locale",
    ]
    return [r for r in dict.fromkeys(map(os.path.realpath, found)) if os.path.isdir(r)]


def catalogues(places: list[str]) -> dict[str, list[str]]:
    """{language: its files, sorted} below ``places``; the language is the name of the folder that holds LC_MESSAGES."""
    found: dict[str, list[str]] = {}
    for place in places:
        for folder, folders, names in os.walk(place):
            folders[:] = sorted(set(folders) - {"__pycache__"})
            if os.path.basename(folder) == "LC_MESSAGES":
                files = sorted(os.path.join(folder, n) for n in names if n.endswith(".mo"))
                found.setdefault(os.path.basename(os.path.dirname(folder)), []).extend(files)
    return {language: files for language, files in sorted(found.items()) if files}


def django() -> str:
    """Django's folder. UserError where it is not installed."""
    found = find_spec("django")
    if found is None or not found.submodule_search_locations:
        raise lacking("data", "language_id reads the catalogues of Django, which is not installed", "django")
    return found.submodule_search_locations[0]


def messages(file: str) -> Iterator[Message]:
    """What a catalogue translates, in its order. UserError for a file that is not a catalogue or is cut short.

    The format: https://www.gnu.org/software/gettext/manual/html_node/MO-Files.html
    """
    data = Path(file).read_bytes()
    order = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}.get(data[:4])
    if order is None:
        raise UserError(file, "is no catalogue of gettext")
    try:
        _, count, ids, strings = struct.unpack_from(f"{order}4I", data, 4)
        pairs = [(_string(data, order, ids + 8 * i), _string(data, order, strings + 8 * i)) for i in range(count)]
    except struct.error:
        raise UserError(file, "is cut short: a catalogue of gettext whose tables end too early") from None
    charset = next((m.group(1).decode() for i, s in pairs if i == b"" and (m := CHARSET.search(s))), "utf8")
    for raw, translated in pairs:
        try:
            message = raw.decode(charset).split("\x04")[-1].split("\0")[0]
            forms = translated.decode(charset).split("\0")
        except (UnicodeDecodeError, LookupError):
            continue  # a few catalogues are not what their header says
        if message != HEADER:
            yield message, [f for f in forms if f]


def _string(data: bytes, order: str, at: int) -> bytes:
    length, start = struct.unpack_from(f"{order}2I", data, at)
    if start + length > len(data):
        raise struct.error
    return data[start : start + length]


def plain(text: str) -> bool:
    """Text alone, on one line: nothing to fill in and no tags."""
    return not MARKED.search(text)
