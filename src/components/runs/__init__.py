"""What a run leaves and what is read of it again: folders, checkpoints, a model loaded. Knows no Lightning."""
