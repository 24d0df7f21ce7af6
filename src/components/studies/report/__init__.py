"""What a study leaves: ``report.html``, ``report.md``, its pictures, ``answer.json``, and the table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from components.core.files import make_folder, write_json, write_text
from components.studies.answer import Answer
from components.studies.report.markdown import markdown
from components.studies.report.page import page
from components.studies.report.pictures import pictures
from components.studies.report.terminal import terminal as terminal
from components.studies.study import Speed, Study


def write(folder: str | Path, study: Study, speeds: Sequence[Speed], answer: Answer) -> None:  # noqa: ARG001
    """Write the report of a study into its folder, over one that is there.

    Raises:
        UserError: the folder cannot be written.
    """
    path = make_folder(folder)
    shown = pictures(study, answer, path)
    write_json(path / "answer.json", answer.as_data())
    write_text(path / "report.md", markdown(study, answer, shown))
    write_text(path / "report.html", page(study, answer))
