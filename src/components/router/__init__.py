"""Which experts each token goes to: ``router(x (N, D), info) -> Routing`` (``functional/experts.py``)."""
