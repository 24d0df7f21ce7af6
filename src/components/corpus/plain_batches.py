"""Our batches as the dictionaries that Hugging Face's models and loops of one's own take: the way back of ``foreign_batches``."""

from __future__ import annotations

from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from components.core.errors import UserError
from components.core.sockets import Batch
from components.corpus.foreign_batches import IDS, MASK, PLACES, TYPES
from components.corpus.foreign_targets import LABELS, TEXT_IDS
from components.corpus.steps import MicroBatch
from components.functional.cross_entropy import IGNORED

PlainBatch: TypeAlias = dict[str, Tensor]
VALUES = "values"


def dictionary_of(batch: Batch, *, moved: bool) -> PlainBatch:
    """``input_ids``, ``labels``, and what there is of ``attention_mask``, ``token_type_ids``, ``position_ids`` (they begin anew with each document).

    Rows of numbers are ``values`` (B, T, F) instead of ids. Of pairs ``input_ids`` is the source, and ``decoder_input_ids`` what is read before
    each of the ``labels``.

    Args:
        batch: as the model is to see it.
        moved: whether its targets are the tokens after those on which they lie. Then each label lies on the token that it names, as Hugging Face has
            them, and that after a row's last token is left out.

    Raises:
        UserError: a dictionary has no word for what the batch says.
    """
    for name, value in (("weights of targets", batch.weights), ("a prefix that all see", batch.prefix)):
        if value is not None:
            raise UserError(
                "data.plain", f"a dictionary has no word for {name}", "take another loss, or the batches as they are"
            )
    read = batch if batch.source is None else batch.source
    made = {VALUES: read.values} if read.values is not None else {IDS: read.ids}
    labels = batch.targets
    if labels is not None and moved and batch.source is None:
        labels = F.pad(labels[:, :-1], (1, 0), value=IGNORED)
    beside = {LABELS: labels, TYPES: read.token_types, MASK: None if read.valid is None else read.valid.long()}
    beside[PLACES] = None if read.documents is None else read.positions
    beside[TEXT_IDS] = None if batch.source is None else batch.ids
    return {**made, **{name: value for name, value in beside.items() if value is not None}}


class PlainBatches(Dataset[PlainBatch]):
    """The micro-batches of a data set as dictionaries."""

    def __init__(self, inner: Dataset[MicroBatch], *, moved: bool) -> None:
        self.inner, self.moved = inner, moved

    def __getitem__(self, index: int) -> PlainBatch:
        return dictionary_of(self.inner[index].batch, moved=self.moved)
