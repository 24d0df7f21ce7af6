"""The notebook runs from its first cell to its last, and its stored outputs are those of a run.

``python tests/examples/test_notebook.py`` runs it and stores the outputs.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"
VARIES = re.compile(r"[\d.,e+-]*\d[\d.,e+-]*|\s+|-+")  # figures and dates, and the room that they take


def executed(folder: Path) -> Any:
    """The notebook after a run in ``folder``, without the times of its cells."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}, record_timing=False
    )
    client.execute()
    return notebook


def shape(cell: Any) -> list[tuple[str, ...]]:
    """What a cell shows, without figures: the kinds of its outputs, and the words of its texts and tables."""
    found = []
    for output in cell.outputs:
        data = output.get("data", {})
        said = output.get("text", "") or data.get("text/html", "") or data.get("text/plain", "")
        said = re.sub(r"<[^>]*>", " ", said)  # not how a table looks
        found.append((output.output_type, *sorted(data), VARIES.sub(" ", said)))
    return found


def test_it_runs_and_shows_what_is_stored(tmp_path):
    """A kernel starts, and trains twenty steps: 10 s."""
    nbformat = pytest.importorskip("nbformat")
    stored = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(stored)
    ran = executed(tmp_path)
    for number, (old, new) in enumerate(zip(stored.cells, ran.cells, strict=True)):
        if old.cell_type == "code":
            written = number == len(stored.cells) - 3  # what a model writes after 20 steps may differ between processors
            assert old.execution_count == new.execution_count
            assert written or shape(old) == shape(new), old.source


def test_it_is_small():
    assert NOTEBOOK.stat().st_size < 250_000


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        done = executed(Path(folder))
    sys.modules["nbformat"].write(done, NOTEBOOK)
