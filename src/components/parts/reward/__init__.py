"""Rewards: ``reward(answer, prompt, reference) -> float``, texts to a number. Several are added up, each times its ``weight``."""
