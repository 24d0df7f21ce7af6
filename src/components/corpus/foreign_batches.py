"""Batches that others make, as ours: ids, ``(ids, targets)``, and the dictionaries of Hugging Face's collators.

A dictionary's ``labels`` lie on the tokens that they name, as Hugging Face has them, and its models move them by one; ours have moved targets,
and so has the second of a pair, as in a loop of one's own. Padding asks nothing and is asked for nowhere, and no target is another document's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.errors import UserError
from components.core.positions import count_positions
from components.core.sockets import Batch
from components.corpus.foreign_targets import (
    LABELS,
    TEXT_IDS,
    WHERE,
    Form,
    answers,
    asks_all,
    ids_in,
    known,
    labels_of,
    masked,
    moved,
    same,
    shaped,
    texts,
)
from components.functional.cross_entropy import IGNORED

ForeignBatch: TypeAlias = Tensor | tuple[Tensor, ...] | list[Tensor] | Mapping[str, object]
IDS, MASK, TYPES, PLACES = "input_ids", "attention_mask", "token_type_ids", "position_ids"
SPECIAL, TEXT_MASK = "special_tokens_mask", "decoder_attention_mask"
KEYS = (IDS, LABELS, MASK, TYPES, PLACES, SPECIAL)
OTHER_NAMES = {"label": LABELS, "label_ids": LABELS}
PASSED_OVER = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx")  # position_ids say the same


@dataclass(frozen=True)
class Taken:
    """A batch, and whether its targets are a choice of whoever made it; if not, they ask for every token, and a loss may hide some."""

    batch: Batch
    chosen: bool


def batch_of(given: object, form: Form) -> Taken:
    """The batch that ``given`` means to a model that reads ``form``.

    Args:
        given: ids (B, T), a pair of ids and targets, or a dictionary of Hugging Face's; a model of numbers reads (B, F) or (B, T, F) instead of ids.
        form: of the model and its loss.

    Raises:
        UserError: it cannot be read so, in one line with what was there.
    """
    if isinstance(given, Mapping):
        return _of_mapping(_tensors(given), form)
    if isinstance(given, Tensor):
        return _of_pair(given, None, form)
    if isinstance(given, (list, tuple)) and 0 < len(given) < 3 and all(isinstance(x, Tensor) for x in given):
        return _of_pair(given[0], given[1] if len(given) == 2 else None, form)
    raise UserError(
        WHERE, f"{_described(given)} cannot be read", f"give ids, (ids, targets), or a dictionary with {', '.join(KEYS)}"
    )


def _described(given: object) -> str:
    if isinstance(given, (list, tuple)):
        return f"a {type(given).__name__} of {', '.join(type(x).__name__ for x in given[:4]) or 'nothing'}"
    return f"a {type(given).__name__}"


# -- ids and targets ---------------------------------------------------------------------------------------------------


def _of_pair(first: Tensor, targets: Tensor | None, form: Form) -> Taken:
    if form.values:
        return Taken(_of_numbers(first, targets, form), targets is not None)
    ids = ids_in(first, "the ids", form)
    if targets is None:
        return _whole(ids, None, None, None, form)
    if form.targets == "text":
        return Taken(texts(ids, None, None, targets, None, None, form), True)
    if form.targets in ("classes", "amounts"):
        return Taken(Batch(ids, answers(targets, ids, form)), True)
    targets = labels_of(targets, ids, "the targets", form)
    if form.targets == "next" and ids.shape[1] > 1 and same(targets, ids):
        raise UserError(
            WHERE,
            "the targets are the ids themselves, and those of a pair are moved already: targets[:, t] is what follows ids[:, t]",
            "give the ids alone, or a dictionary with labels",
        )
    if form.targets == "in_place" and asks_all(targets, ids, None):
        return _whole(ids, None, None, None, form)
    return Taken(Batch(ids, targets), True)


def _of_numbers(values: Tensor, targets: Tensor | None, form: Form) -> Batch:
    """A batch of rows of numbers: (B, F), each one position, or (B, T, F)."""
    values = values[:, None] if values.dim() == 2 else values
    if values.dim() != 3 or not values.is_floating_point() or values.shape[-1] != form.values:
        raise UserError(WHERE, f"{shaped(values)} are no rows of {form.values} numbers", "give floats (B, F) or (B, T, F)")
    ids = values.new_zeros(values.shape[:2], dtype=torch.long)
    return Batch(ids, None if targets is None else answers(targets, ids, form), values=values)


# -- dictionaries ------------------------------------------------------------------------------------------------------


def _tensors(given: Mapping[str, object]) -> dict[str, Tensor]:
    """By Hugging Face's names; lists become tensors, and what is None is left out."""
    there = ", ".join(map(str, given))
    known, found = (*KEYS, TEXT_IDS, TEXT_MASK), {}
    for key, value in given.items():
        name = OTHER_NAMES.get(key, key)
        if value is None or (name in PASSED_OVER and PLACES in given):
            continue
        if name not in known:
            raise UserError(WHERE, f"{key!r} cannot be used (keys: {there})", f"leave it out; known: {', '.join(known)}")
        if name in found:
            raise UserError(WHERE, f"labels are there twice (keys: {there})", "leave one out")
        try:
            found[name] = value if isinstance(value, Tensor) else torch.as_tensor(value)
        except (ValueError, TypeError, RuntimeError):
            raise UserError(
                WHERE, f"{key!r} is no tensor: its rows differ in length, or are no numbers", "pad them: tokenizer.pad(...)"
            ) from None
    if IDS not in found:
        raise UserError(WHERE, f"there is no {IDS!r} (keys: {there})", f"give {IDS}, and {LABELS} to learn from")
    return found


def _of_mapping(held: dict[str, Tensor], form: Form) -> Taken:
    if form.values:
        raise UserError(WHERE, "the model reads numbers, not ids", "give (numbers, targets)")
    for key in (TEXT_IDS, TEXT_MASK):
        if key in held and form.targets != "text":
            raise UserError(
                WHERE, f"the model has no decoder beside an encoder, for {key!r} (keys: {', '.join(held)})", "leave it out"
            )
    ids = ids_in(held[IDS], IDS, form)
    for key in (MASK, TYPES, PLACES, SPECIAL):
        if key in held and held[key].shape != ids.shape:
            raise UserError(WHERE, f"{key} are {shaped(held[key])} for ids {shaped(ids)}", "give one for each token, (B, T)")
    valid, documents = documents_of_mask(held.get(MASK))
    types = _types(held.get(TYPES), form)
    positions, documents = documents_of_places(held.get(PLACES), valid, documents)
    labels = held.get(LABELS)
    if form.targets == "text" and (labels is not None or TEXT_IDS in held):
        if documents is not None or positions is not None:
            raise UserError(WHERE, "packed sources cannot be told apart by what is written after each", "give one source a row")
        return Taken(texts(ids, valid, types, labels, held.get(TEXT_IDS), held.get(TEXT_MASK), form), True)
    if labels is None:
        return _whole(ids, valid, documents, positions, form, types, held.get(SPECIAL))
    if form.targets in ("classes", "amounts"):
        return Taken(Batch(ids, answers(labels, ids, form), None, positions, documents, valid, types), True)
    labels = labels_of(labels, ids, LABELS, form)
    chosen = not asks_all(labels, ids, valid)
    if form.targets == "in_place" and not chosen:
        return _whole(ids, valid, documents, positions, form, types, held.get(SPECIAL))
    if form.targets == "in_place":
        return Taken(Batch(ids, known(labels, valid), None, positions, documents, valid, types), True)
    if chosen and ids.shape[1] > 2 and same(labels[:, :-1], ids[:, 1:]):
        raise UserError(
            WHERE, "the labels are moved already, and those of a dictionary lie on their tokens", "give (ids, targets)"
        )
    return Taken(Batch(ids, moved(labels, valid, documents, form), None, positions, documents, valid, types), chosen)


def _whole(
    ids: Tensor,
    valid: Tensor | None,
    documents: Tensor | None,
    positions: Tensor | None,
    form: Form,
    types: Tensor | None = None,
    special: Tensor | None = None,
) -> Taken:
    """Ids alone, which ask for every token, but for those around a text where the loss hides some."""
    targets = None
    if form.targets == "in_place":
        around = torch.isin(ids, torch.tensor(form.framing, device=ids.device)) if special is None else special.bool()
        targets = known(torch.where(around, IGNORED, ids), valid)
    elif form.targets in ("next", "text"):
        targets = moved(ids, valid, documents, form)
    return Taken(Batch(ids, targets, None, positions, documents, valid, types), False)


def documents_of_mask(mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """(which positions are no padding, the document of each): a mask of more than 0 and 1 numbers the documents of a row."""
    if mask is None:
        return None, None
    if mask.dtype == torch.bool:
        return masked(mask), None
    if (mask.is_floating_point() and bool((mask != mask.round()).any())) or bool((mask < 0).any()):
        raise UserError(WHERE, f"{MASK} has other values than 0 and 1", "give 1 for a token and 0 for padding")
    mask = mask.long()
    return masked(mask > 0), mask - 1 if int(mask.max()) > 1 else None


def _types(types: Tensor | None, form: Form) -> Tensor | None:
    if types is None or not bool(types.any()):
        return None  # all of type 0, as where there are none
    if not form.token_types:
        raise UserError(
            WHERE, f"{TYPES} has segments, and the model reads none", "leave it out, or take model/embedding=token_types"
        )
    return types.long()


def documents_of_places(
    places: Tensor | None, valid: Tensor | None, documents: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """(positions, documents). Where positions begin anew at 0 a document begins."""
    if places is None:
        return None, documents
    places = places.long()
    there = torch.ones_like(places, dtype=torch.bool) if valid is None else valid
    both, goes_on = there[:, 1:] & there[:, :-1], places[:, 1:] == places[:, :-1] + 1
    begins = both & (places[:, 1:] == 0)
    if bool((both & ~goes_on & ~begins).any()):
        raise UserError(
            WHERE, f"{PLACES} neither go on by one nor begin anew at 0", "leave them out: they are counted from the mask"
        )
    if documents is None and bool(begins.any()):
        documents = F.pad(begins.long().cumsum(1), (1, 0))
    places = torch.where(there, places, 0)
    counted = count_positions(places, documents, valid)
    return (None if same(torch.where(there, counted, 0), places) else places), documents
