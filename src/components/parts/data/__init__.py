"""Sources of documents; one file, one source."""
