"""Multi-head attention: every head of queries has keys and values of its own.

Vaswani et al. 2017, arXiv:1706.03762
"""

from components.core.registry import preset

preset("attention", "mha", of="gqa", n_kv_heads=None)
