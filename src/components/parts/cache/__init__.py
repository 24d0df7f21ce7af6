"""Caches: what decoding keeps of the positions already seen (``sockets.Cache``)."""
