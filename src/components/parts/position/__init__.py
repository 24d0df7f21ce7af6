"""Where a token stands. A part has any of three methods, each the identity where it is missing:

``embed(x, info) -> x``, called once by the model; ``rotate(q, k, q_info, k_info) -> q, k``, called by attention with (B, H, T, K);
``bias(q, k, q_info, k_info) -> None or (B or 1, H, Tq, Tk)``, added to scaled scores."""
