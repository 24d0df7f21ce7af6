"""Weights, configs and tokenizers of known models, in and out: the Hugging Face layout of a folder on one side, our runs on the other.

An architecture is data: a file in ``architectures/`` says which fields of ``config.json`` are which options of a recipe, and which tensor is which.
"""
