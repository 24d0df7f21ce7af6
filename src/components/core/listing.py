"""``components.list_parts``: what can be chosen, as a mapping that prints as a table. Imports no torch."""

from __future__ import annotations

from components.core import html, layout, registry
from components.core.errors import UserError, nearest
from components.core.signature import REQUIRED


class Listing(dict[str, str]):
    """{name: what it is}, with a title; a terminal and a notebook show it as a table."""

    def __init__(self, title: str, rows: dict[str, str]) -> None:
        super().__init__(rows)
        self.title = title

    def __repr__(self) -> str:
        return "\n".join([self.title, *layout.table(list(self.items()), limit=44)])

    def _repr_html_(self) -> str:
        return html.table(list(self.items()), title=self.title)


def list_parts(what: str = "") -> Listing:
    """The kinds; with a kind its parts; with ``kind/name`` the part's options. Parts of plug-ins and of this program are among them.

    Args:
        what: ``""``, ``"attention"`` or ``"attention/gqa"``.

    Returns:
        a dictionary {name: sentence} that shows itself as a table: ``"gqa" in components.list_parts("attention")``.

    Raises:
        UserError: there is no such kind or part.
    """
    kind, slash, name = what.partition("/")
    if not kind:
        return Listing("kinds", {n: k.sentence for n, k in registry.kinds().items()})
    if slash:
        signature = registry.entry(kind, name).signature
        rows = {}
        for option in signature.options.values():
            default = "needed" if option.default == REQUIRED else f"= {layout.value(option.default)}"
            rows[option.name] = f"{option.type.text} {default}{f'; {option.doc}' if option.doc else ''}"
        return Listing(f"{what}: {signature.sentence}", rows)
    if kind not in registry.kinds():
        raise UserError(kind, "unknown kind", nearest(kind, registry.kinds(), called="kinds"))
    found = {e.name: e.signature.sentence for e in registry.entries(kind).values()}
    return Listing(f"{kind}: {registry.kinds()[kind].sentence}", found)
