"""What passes between transformers' generation and our models: the cache that it keeps for us, and its tensors as a batch of ours."""

from __future__ import annotations

import torch
from torch import Tensor

from components.core.sockets import Batch, Cache
from components.corpus.foreign_batches import documents_of_mask, documents_of_places


class Past:
    """A cache of ours as transformers' generation asks it: keys and values, and whatever state a recurrent layer keeps."""

    is_compileable = False
    is_linear = (False,)  # a prompt that was read is not read again

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002  all layers have read the same
        return self.cache.length

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.cache.reorder(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.cache.reorder(self._rows().repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        self.cache.reorder(self._rows()[indices.cpu()])

    def _rows(self) -> Tensor:
        return torch.arange(self.cache.rows)  # type: ignore[attr-defined]  # which every cache of ours has


def batch_of(ids: Tensor, mask: Tensor | None, places: Tensor | None, types: Tensor | None, cache: Cache | None) -> Batch:
    """What a model of ours reads of transformers' tensors; ``ForCausalLM.forward`` says their shapes. ``cache``: what was read before, if anything.

    Errors: ValueError where padding was read and its mask is not given again; UserError where masks or positions do not fit.
    """
    new = ids.shape[1]
    if cache is None or not cache.length:
        valid, documents = documents_of_mask(mask)
        positions, documents = documents_of_places(places, valid, documents)
        return Batch(ids, positions=positions, documents=documents, valid=valid, token_types=types)
    whole = mask is None or bool(mask.bool().all())
    if places is None and mask is not None and not whole:
        places = mask.long().cumsum(1) - 1
    positions = None if places is None else places[:, -new:].clamp(min=0).long()
    if positions is None and cache.uneven:
        raise ValueError("some of what was read is padding: give the attention_mask of all of it")
    valid = None if whole or mask is None else mask[:, -new:].bool()
    return Batch(ids, positions=positions, valid=valid, token_types=None if types is None else types[:, -new:])
