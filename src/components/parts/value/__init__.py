"""Changes what attention will read, before it is read: ``value(v, x, info)``, v (B, G, T, K) -> the same shape; x (B, T, D) is attention's input."""
