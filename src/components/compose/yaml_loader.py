"""YAML's mapping to Python values, as OmegaConf has it, without OmegaConf: importing that takes longer than reading a recipe.

Imports ``yaml``, so it is imported when the first file is read.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from components.core.content import DEPTH, VALUES
from components.core.errors import UserError

# the largest config here has some thousand values; YAML is read at some ten thousand a second
NODES = 30_000
FLOAT, TEXT, TIMESTAMP = (f"tag:yaml.org,2002:{name}" for name in ("float", "str", "timestamp"))
# YAML 1.1 wants a dot in every float and a sign in every exponent, so 1e-3 would be a text
FLOATS = re.compile(
    r"""^(?:
     [-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)
    |\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?::[0-5]?[0-9])+\.[0-9_]*
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.X,
)


class Loader(yaml.SafeLoader):
    """Reads one text. ``1e-3`` is a number, ``2026-01-01`` a text, and a key that stands twice in a mapping is an error.

    Args:
        text: of the file.
        where: the file's name, for messages.
    """

    def __init__(self, text: str, where: str) -> None:
        super().__init__(text)
        self.where = where
        self.depth = self.count = 0

    def document(self) -> Any:
        """What the text holds; None for an empty one.

        Raises:
            UserError: it is deeper or larger than any config, or its aliases stand for too much.
            yaml.YAMLError: it is no valid YAML.
        """
        node = self.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > VALUES:
            raise UserError(
                self.where, f"stands for more than {VALUES:,} values, or holds itself: aliases are counted", "write it out"
            )
        return self.construct_document(node)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Depth and number are counted while the tree of nodes grows, before any value is made of it."""
        self.depth, self.count = self.depth + 1, self.count + 1
        if self.depth > DEPTH or self.count > NODES:
            deep = self.depth > DEPTH
            what = f"is nested deeper than {DEPTH} levels" if deep else f"holds more than {NODES:,} values"
            raise UserError(f"{self.where}:{self.peek_event().start_mark.line + 1}", what, "give a file that is a config")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == TEXT and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    "while constructing a mapping", node.start_mark, f"found duplicate key {key.value}", key.start_mark
                )
            seen.update([key.value] if key.tag == TEXT else ())
        return super().construct_mapping(node, deep=deep)


Loader.add_implicit_resolver(FLOAT, FLOATS, list("-+0123456789."))
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != TIMESTAMP]
    for first, resolvers in Loader.yaml_implicit_resolvers.items()
}


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for, those behind aliases each time they are named."""
    if id(node) not in known:
        known[id(node)] = VALUES + 1  # of one that is met within itself
        inner = node.value if isinstance(node, yaml.SequenceNode) else ()
        if isinstance(node, yaml.MappingNode):
            inner = [n for pair in node.value for n in pair]
        known[id(node)] = 1 + sum(_size(n, known) for n in inner)
    return known[id(node)]
