"""What stands in a trace, by subject; ``explain/trace.py`` is the whole."""
