"""Order of norms and branches in one layer: ``block(s, info) -> s``, s the residual stream."""
