"""Hydra looks for its plug-ins here; the code is ``components.compose.hydra_groups``: the config source ``components://``."""

from components.compose.hydra_groups import Groups as Groups
