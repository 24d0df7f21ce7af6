"""What `validate` and `show` print of a model: how many ids it knows, and how many parameters each part has."""

from __future__ import annotations

from components.core.model_tree import Row, count, short, tree, walk
from components.runs.vocabulary import PLACEHOLDER, Vocabulary, vocabulary

__all__ = ["PLACEHOLDER", "Row", "Vocabulary", "count", "short", "tree", "vocabulary", "walk"]
