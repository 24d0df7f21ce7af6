"""What the training asks of every task, as it is where a task has no such option."""

from __future__ import annotations

from typing import ClassVar, Literal


class Without:
    """Defaults of attributes that only some tasks have as options. No field stands here, so none of them is an option of every task."""

    documents: Literal["apart", "together"] = "apart"
    labelled: ClassVar[bool] = False  # its answers are labels, and its model has a score for each
    batch_tokens: int | None = None
    samples: int = 0
    sample_tokens: int = 120
    judged_samples: int = 0
    best_by: ClassVar[tuple[str, str]] = ("val_loss", "min")  # of validations, where no callback watches another figure
    gives_sources: ClassVar[bool] = False  # samples are written after a source
    prompts: list[str] = []
