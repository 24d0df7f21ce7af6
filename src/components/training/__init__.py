"""The one room that knows Lightning: tasks, loaders, trainer, strategies, callbacks, loggers."""
