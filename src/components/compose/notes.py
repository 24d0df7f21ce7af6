"""How values and swaps are said to people: short, as they would be typed."""

from __future__ import annotations

from dataclasses import dataclass, field

from components.compose.node import Node
from components.compose.sources import DEFAULT, ConfigSource
from components.core.config_types import Config, Value


def one_line(text: str) -> str:
    """``text`` with what would begin a new line, or move the cursor, written out: ``\\n``. It is printed, and stands in comments."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def show(value: Value) -> str:
    """``null``, ``true``, ``1e-05``, ``[a, b]``, ``{name: rms, eps: 1e-05}``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {show(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(show, value)) + "]"
    return one_line(str(value))


def show_node(node: Node) -> str:
    """A part with what was said about it; a bare name if nothing was."""
    said = said_of(node)
    return show({"name": node.name, **said}) if said else node.name


def said_of(node: Node) -> Config:
    """The options that somebody gave, nested; defaults left out."""
    out: Config = {n: g.value for n, g in node.given.items() if g.source > DEFAULT}
    for name, child in node.parts.items():
        inner = said_of(child)
        if child.source > DEFAULT:
            out[name] = {"name": child.name, **inner} if inner else child.name
        elif inner:
            out[name] = inner
    for name, (children, source) in node.lists.items():
        if source > DEFAULT:
            out[name] = [show_node(c) for c in children]
    return out


@dataclass
class Notes:
    """Lines about what a swap kept and dropped, in order, each once."""

    lines: list[str] = field(default_factory=list)
    pending: set[str] = field(default_factory=set)  # paths that the source will still set: what is kept there is no news

    def add(self, line: str) -> None:
        if line not in self.lines:
            self.lines.append(line)

    def swap(
        self, where: str, old: str, new: str, source: ConfigSource, kept: list[str], dropped: list[tuple[str, str]]
    ) -> None:
        """``model.attention: gqa -> mla (command line); kept ...; dropped n_kv_heads=2 (recipe x): mla has no such option``."""
        kept = [text for text in kept if f"{where}.{text.partition('=')[0]}" not in self.pending]
        if source.complete or not (kept or dropped):
            return
        line = f"{where}: {old} -> {new} ({source.label})"
        if kept:
            line += f"; kept {', '.join(kept)}"
        if dropped:
            reasons: dict[str, list[str]] = {}
            for what, why in dropped:
                reasons.setdefault(why, []).append(what)
            line += "".join(f"; dropped {', '.join(what)}: {why}" for why, what in reasons.items())
        self.add(line)
