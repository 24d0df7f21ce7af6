"""Hydra looks for its plug-ins here; the code is ``components.compose.launcher``."""

from components.compose.launcher import Launcher


class ComponentsLauncher(Launcher):
    """The launcher ``components``, the default: each job of a sweep is a process of its own, one after another."""
