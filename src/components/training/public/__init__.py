"""What a Trainer of one's own takes from here, one by one: ``components.callbacks``, ``components.strategies``, ``components.tasks``."""

from __future__ import annotations

from components.training.public import callbacks as callbacks
from components.training.public import strategies as strategies
from components.training.public import tasks as tasks
