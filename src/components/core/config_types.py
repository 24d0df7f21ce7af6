"""What a config holds: plain data, as JSON and YAML have it."""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]  # a spelled-out config: plain data
