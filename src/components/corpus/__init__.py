"""From documents to packed blocks: clean and report, split by document, tokenise once, map from disk.

Only ``blocks`` imports torch.
"""

from __future__ import annotations

from components.corpus.corpus import Corpus, Split, prepare
from components.corpus.document import Document
from components.corpus.tokens import Tokens, read_tokenizer

__all__ = ["Corpus", "Document", "Split", "Tokens", "prepare", "read_tokenizer"]
