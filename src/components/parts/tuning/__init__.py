"""Which weights learn, and how fast: ``tuning.rates(weights)`` is a factor on the learning rate for each of them, 0 where it is frozen."""
