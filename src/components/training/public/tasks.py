"""Our tasks as classes: each is a LightningModule that any ``lightning.Trainer`` takes, and ``load_from_checkpoint`` rebuilds it.

``components.load_recipe`` makes one with its model and its data. ``Task`` is the base of all: ``Task.load_from_checkpoint`` gives whichever task
the checkpoint holds.
"""

from __future__ import annotations

from components.training.task._training import Training as Task
from components.training.task.classification import Classification as Classification
from components.training.task.grpo import GRPO as GRPO
from components.training.task.instruction_tuning import InstructionTuning as InstructionTuning
from components.training.task.language_modeling import LanguageModeling as LanguageModeling
from components.training.task.masked_language_modeling import MaskedLanguageModeling as MaskedLanguageModeling
from components.training.task.preference_tuning import PreferenceTuning as PreferenceTuning
from components.training.task.regression import Regression as Regression
from components.training.task.reward_modeling import RewardModeling as RewardModeling
from components.training.task.sequence_to_sequence import SequenceToSequence as SequenceToSequence

__all__ = [
    "GRPO",
    "Classification",
    "InstructionTuning",
    "LanguageModeling",
    "MaskedLanguageModeling",
    "PreferenceTuning",
    "Regression",
    "RewardModeling",
    "SequenceToSequence",
    "Task",
]
