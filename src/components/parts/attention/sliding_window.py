"""Sliding-window attention: a query sees the nearest positions only.

Beltagy et al. 2020, arXiv:2004.05150
"""

from components.core.registry import preset

preset("attention", "sliding_window", of="gqa", mask={"name": "sliding_window", "window": 64})
