"""Chunked attention: a query sees the keys of its own piece of the sequence only.

Llama 4 2025
"""

from components.core.registry import preset

preset("attention", "chunked", of="gqa", mask={"name": "chunked", "size": 64})
