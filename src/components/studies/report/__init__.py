"""A list of means: stands in for the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from components.core.files import write_text
from components.studies.answer import Answer
from components.studies.study import Speed, Study


def terminal(study: Study, answer: Answer) -> str:
    return "\n".join(f"{n}: {study.metric} {x:.4f}" for n, x in answer.means.items())


def write(folder: Path, study: Study, speeds: Sequence[Speed], answer: Answer) -> None:
    del speeds
    write_text(folder / "report.md", terminal(study, answer) + "\n")
