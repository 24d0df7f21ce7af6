"""What docstrings say of a part: its sentence, its whole text, and the ``Args:`` line of each option."""

from __future__ import annotations

import re


def sentence(doc: str) -> str:
    """The first paragraph, on one line."""
    return " ".join(doc.strip().split("\n\n", 1)[0].split())


def whole(module_doc: str, doc: str | None) -> str:
    """The text of the module, then that of the class."""
    return "\n\n".join(filter(None, (module_doc.strip(), (doc or "").strip())))


def unmarked(text: str) -> str:
    """``text`` without the marks of code, which are for a page: on a terminal a word in them stands between quotation marks."""
    return text.replace("``", "'")


def argument_docs(doc: str) -> dict[str, str]:
    """``Args:`` lines ``name: text`` of a docstring, each with its continuation lines."""
    found: dict[str, str] = {}
    match = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", doc, re.M)
    if not match:
        return found
    lines = match.group(1).splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    name = ""
    for line in lines:
        head = re.match(rf"[ \t]{{{indent}}}(\w+)(?: \([^)]*\))?: (.*)", line)
        if head:
            name = head.group(1)
            found[name] = head.group(2).strip()
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found
