"""One file an architecture: ``ARCHITECTURE = Architecture(...)``."""
