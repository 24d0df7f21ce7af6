"""docs/reference/lightning.md says what each callback, logger and flag of Lightning does with our tasks: each is run. ``python
tests/training/test_lightning_table.py`` writes the page anew."""

from __future__ import annotations

import inspect
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import lightning_rows
import pytest
from lightning import Trainer
from lightning.pytorch import callbacks, loggers
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning_rows import CALLBACKS, FLAGS, LOGGERS, METHODS, Row, ran
from plain import hushed, task_and_data
from tiny_runs import make_tiny

from components.core.errors import UserError

pytestmark = pytest.mark.usefixtures("warm_processes")

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "lightning.md"
STALE = "docs/reference/lightning.md is stale: python tests/training/test_lightning_table.py writes it anew"
ABSTRACT = {"Callback", "Checkpoint", "ProgressBar", "Logger"}  # bases of others
HEAD = """# Lightning, piece by piece

Every task is a LightningModule, and its data are a LightningDataModule: any `lightning.Trainer` takes them. This page is made by a test
that runs each line on a tiny model and looks for the effect; `python tests/training/test_lightning_table.py` writes it anew.
[How to use a Trainer of your own](../how_to/plain_lightning.md) shows them at work.

*works*: it was run and did what it says. *refused*: it ends before the first step, with this line. *with the package ...*: it is run where
the package is installed.
"""


def test_nothing_of_lightning_is_left_out():
    assert set(CALLBACKS) == set(callbacks.__all__) - ABSTRACT
    assert set(LOGGERS) - {"several"} == set(loggers.__all__) - ABSTRACT
    assert set(FLAGS) == set(inspect.signature(Trainer.__init__).parameters) - {"self"}


def test_the_page_says_what_happens(tmp_path):
    assert PAGE.read_text(encoding="utf8") == page(tmp_path), STALE


def page(folder: Path) -> str:
    sections = [HEAD]
    with hushed():
        lightning_rows.PLAIN = float(
            ran(Row(), *made(folder / "plain"), folder / "plain").trainer.callback_metrics["train_loss"]
        )
        for title, rows in (
            ("Methods", [(name, row) for name, row in METHODS.items()]),
            ("Callbacks", [(name, row) for name, row in CALLBACKS.items()]),
            ("Loggers", [(name, row) for name, row in LOGGERS.items()]),
            ("Flags of the Trainer", [(name, row) for name, several in FLAGS.items() for row in several]),
        ):
            lines = [f"| `{row.value or name}` | {verdict(name, row, folder)} | {row.note} |" for name, row in rows]
            sections.append("\n".join([f"## {title}\n", "| | | |", "|---|---|---|", *lines]) + "\n")
    return "\n".join(sections)


def made(folder: Path, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    return task_and_data(make_tiny(folder)(**changes))


def verdict(name: str, row: Row, folder: Path) -> str:
    """What the table says of a row; an AssertionError names the row that does not do what it says."""
    place = folder / f"{name}-{row.value or 0}".replace("/", "-")
    if row.package and not find_spec(row.package):
        return f"with the package {row.package}"
    try:
        ran(row, *made(place, **row.config), place)
    except UserError as e:
        return f"refused: {e.line().removeprefix(name + ': ')}"
    except (MisconfigurationException, ValueError) as e:
        if row.lightning:
            return "refused by Lightning"
        raise AssertionError(f"{name} {row.value}: {e}") from e
    except Exception as e:
        raise AssertionError(f"{name} {row.value}: {type(e).__name__}: {e}") from e
    return f"with the package {row.package}" if row.package else "works"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made_in:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page(Path(made_in)), encoding="utf8")
    sys.stdout.write(f"{PAGE}\n")
