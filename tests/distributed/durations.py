"""What the tests of several ranks cost: seconds of a core of all their processes, by file, as the table of docs/scale.md.

``python tests/distributed/durations.py`` measures and prints, ``--write`` keeps the figures in docs/durations.json and renews the table; five minutes on two cores.
Each file is run by itself, so each pays its own start.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE, FIGURES = HERE.parents[1] / "docs" / "scale.md", HERE.parents[1] / "docs" / "durations.json"
BEGIN, END = "<!-- written by tests/distributed/durations.py -->", "<!-- end of durations -->"


def measured() -> dict[str, float]:
    """{test file: seconds of a core}; AssertionError where one fails."""
    found = {}
    for file in sorted(HERE.glob("test_*.py")):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        words = ["-m", "not slow", "-k", "not the_page", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words, str(file)], capture_output=True, text=True, cwd=HERE.parents[1]
        )
        assert done.returncode == 0, done.stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found[file.stem] = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)
    return found


def table(figures: dict[str, float]) -> str:
    lines = ["| tests | seconds of a core |", "|---|--:|", *(f"| {name} | {s:.0f} |" for name, s in figures.items())]
    return "\n".join(
        [*lines, f"| all: two cores have done in {sum(figures.values()) / 120:.1f} minutes | {sum(figures.values()):.0f} |"]
    )


def page(text: str, figures: dict[str, float]) -> str:
    """The page with the table of ``figures`` between its marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table(figures)}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    held = measured()
    if "--write" in sys.argv:
        FIGURES.write_text(json.dumps(held, indent=1) + "\n")
        PAGE.write_text(page(PAGE.read_text(encoding="utf8"), held), encoding="utf8")
    print(table(held))
