"""The catalogue: one folder a kind, one file a part."""
