"""How the layers of one side are wired: ``enter(x, info)``, then ``stack(x, info) -> (hidden, out)``."""
