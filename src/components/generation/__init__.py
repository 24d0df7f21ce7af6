"""Text from a model: continued, streamed, scored, answered. Knows no Lightning."""
