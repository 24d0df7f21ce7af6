"""Where figures go beside metrics.csv: ``logger.begin()`` is a Lightning logger, or None where nothing more is written."""
