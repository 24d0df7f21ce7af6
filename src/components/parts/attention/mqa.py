"""Multi-query attention: all heads of queries share one head of keys and values.

Shazeer 2019, arXiv:1911.02150
"""

from components.core.registry import preset

preset("attention", "mqa", of="gqa", n_kv_heads=1)
