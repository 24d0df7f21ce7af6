"""The one room that knows Lightning: tasks, loaders, trainer, strategies, callbacks, loggers."""

import warnings

# of tqdm, which Lightning imports: in a notebook without ipywidgets it tells of a bar that nobody draws
warnings.filterwarnings("ignore", "IProgress not found")
