"""Tokenizers: text <-> ids, all on the ``tokenizers`` library; one file, one tokenizer."""
