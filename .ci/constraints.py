"""Print the oldest version of every required package that pyproject.toml allows, as constraints for pip: what `make oldest` installs."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement


def oldest(project: Path) -> list[str]:
    """``name==version`` for each requirement, from its lower bound. ValueError for one without."""
    lines = []
    for line in tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]:
        wanted = Requirement(line)
        lower = [s.version for s in wanted.specifier if s.operator in (">=", "==")]
        if len(lower) != 1:
            raise ValueError(f"{project}: {line} has no lower bound")
        lines.append(f"{wanted.name}=={lower[0]}")
    return lines


if __name__ == "__main__":
    sys.stdout.write("\n".join(oldest(Path(__file__).parent.parent / "pyproject.toml")) + "\n")
