"""Schedules: ``schedule(step)`` is the factor on every learning rate at that step."""
