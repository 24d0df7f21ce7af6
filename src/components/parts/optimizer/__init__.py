"""Optimizers: update the weights, by their roles; each is a ``torch.optim.Optimizer`` made from ``list[Weight]``."""
