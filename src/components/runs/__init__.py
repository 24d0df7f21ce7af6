"""What a run leaves on disk, and how it is read again: folders, checkpoints, loading a model. Does not import Lightning."""
