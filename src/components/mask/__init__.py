"""Which positions a query may see; the contract is ``functional.visibility.Rule``."""
