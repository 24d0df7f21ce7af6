"""Hydra launcher plug-in ``components``, the default: each job of a sweep is a process of its own, one after another."""

from __future__ import annotations

from hydra_plugins.components_launcher.launcher import ComponentsLauncher

__all__ = ["ComponentsLauncher"]
