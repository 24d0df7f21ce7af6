"""Whose keys and values a layer reads. ``borrows`` (known when built): the layer has no key and value projections of its own;
``lend(k, v, k_info, info)`` offers them to later layers, ``borrow(info) -> (k, v, k_info)`` takes them, both by carry."""
