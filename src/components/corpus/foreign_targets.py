"""What batches of others ask for, as our targets: checked, moved by one where ours are, and asked for nowhere at padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.errors import UserError
from components.core.sockets import Batch
from components.functional.cross_entropy import IGNORED

Targets = Literal["next", "in_place", "classes", "amounts", "text"]

LABELS, TEXT_IDS = "labels", "decoder_input_ids"  # Hugging Face's names
WHERE = "batch"


@dataclass(frozen=True)
class Form:
    """What a model and its loss read.

    Args:
        targets: ``next``: of each token the one after it; ``in_place``: hidden tokens where they stood; ``classes`` and ``amounts`` of each row;
            ``text``: what an encoder-decoder writes after it has read its source.
        vocab_size: ids from 0 to below it.
        n_classes: scores of a classifier, where it says how many.
        starts: what an encoder-decoder's own text begins with.
        framing: ids around a text, which no loss hides.
        end: the id that ends a document.
        longest: positions that the model has a vector for; None: any number.
        token_types: whether the model reads them.
        values: how many numbers a position has, where the model reads numbers; 0: it reads ids.
    """

    targets: Targets
    vocab_size: int
    n_classes: int | None = None
    starts: tuple[int, ...] = ()
    framing: tuple[int, ...] = ()
    end: int = IGNORED
    longest: int | None = None
    token_types: bool = False
    values: int = 0


def known(targets: Tensor, valid: Tensor | None) -> Tensor:
    """The targets, none of them at padding."""
    return targets if valid is None else torch.where(valid, targets, IGNORED)


def moved(labels: Tensor, valid: Tensor | None, documents: Tensor | None, form: Form) -> Tensor:
    """(B, T) of each token the label of the next one, if neither is padding, and both are of one document or the label is what ends one."""
    targets = F.pad(known(labels, valid)[:, 1:], (0, 1), value=IGNORED)
    if documents is not None:
        goes_on = F.pad(documents[:, 1:] == documents[:, :-1], (0, 1)) | (targets == form.end)
        targets = torch.where(goes_on, targets, IGNORED)
    return known(targets, valid)


def texts(
    ids: Tensor,
    valid: Tensor | None,
    types: Tensor | None,
    labels: Tensor | None,
    text: Tensor | None,
    text_mask: Tensor | None,
    form: Form,
) -> Batch:
    """Sources, and the texts to write after them: ``labels`` (B, L), -100 behind the end of each."""
    if labels is None:
        raise UserError(
            WHERE, f"there is {TEXT_IDS} and no {LABELS}", f"give {LABELS}: what is read before each follows from them"
        )
    labels = ranged(whole_numbers(labels, LABELS), form.vocab_size, LABELS)
    if labels.dim() != 2 or labels.shape[0] != ids.shape[0]:
        raise UserError(WHERE, f"labels {shaped(labels)} for sources {shaped(ids)}", "give a text for each source, (B, L)")
    asked = labels != IGNORED
    if text is None:
        if bool((asked[:, 1:] & ~asked[:, :-1]).any()):
            raise UserError(
                WHERE, f"labels have {IGNORED} before their end, and nothing says what stands there", f"give {TEXT_IDS}"
            )
        starts = torch.tensor(form.starts, device=ids.device).expand(len(ids), -1)
        text = torch.cat((starts, torch.where(asked, labels, 0)), 1)[:, :-1]
        labels = F.pad(labels, (len(form.starts) - 1, 0), value=IGNORED)
    else:
        text = ids_in(text, TEXT_IDS, form)
        if text.shape != labels.shape:
            raise UserError(WHERE, f"{TEXT_IDS} {shaped(text)} for labels {shaped(labels)}", "give them in one shape")
    if text_mask is None:  # what comes behind the last target is padding
        read = (labels != IGNORED).long().flip(1).cummax(1).values.flip(1).bool()
        read[:, 0] = True
    else:
        read = text_mask.bool()
    return Batch(text, known(labels, read), valid=masked(read), source=Batch(ids, valid=valid, token_types=types))


def answers(labels: Tensor, ids: Tensor, form: Form) -> Tensor:
    """(B,) the class of each row, or (B, N) its numbers."""
    if form.targets == "amounts":
        made = labels.float()
        made = made[:, None] if made.dim() == 1 else made
        if made.dim() != 2 or len(made) != len(ids):
            raise UserError(WHERE, f"labels {shaped(labels)} for {len(ids)} rows", "give numbers for each row, (B,) or (B, N)")
        return made
    made = labels[:, 0] if labels.dim() == 2 and labels.shape[1] == 1 else labels
    if made.shape != ids.shape[:1]:
        raise UserError(
            WHERE, f"labels {shaped(labels)} for {len(ids)} rows", "give the number of one class for each row, (B,)"
        )
    return ranged(whole_numbers(made, LABELS), form.n_classes, "classes")


def labels_of(labels: Tensor, ids: Tensor, called: str, form: Form) -> Tensor:
    if labels.shape != ids.shape:
        raise UserError(WHERE, f"{called} are {shaped(labels)} for ids {shaped(ids)}", "give one for each token, (B, T)")
    return ranged(whole_numbers(labels, called), form.vocab_size, called)


def asks_all(targets: Tensor, ids: Tensor, valid: Tensor | None) -> bool:
    """Whether the targets lie on their ids and all are asked for, but for one id that pads elsewhere too."""
    asked = targets != IGNORED
    rest = ids[~asked if valid is None else ~asked & valid]
    alike = rest.numel() == 0 or bool((rest == rest[0]).all())
    return alike and bool(asked.any()) and bool((targets == ids)[asked].all())


def same(one: Tensor, other: Tensor) -> bool:
    """Whether all targets that are asked for are those."""
    asked = one != IGNORED
    return bool(asked.any()) and bool((one == other)[asked].all())


def ids_in(ids: Tensor, called: str, form: Form) -> Tensor:
    if ids.dim() != 2 or not ids.shape[1]:
        raise UserError(WHERE, f"{called} are {shaped(ids)}", "give them as (B, T)")
    if form.longest is not None and ids.shape[1] > form.longest:
        raise UserError(
            WHERE, f"{called} have {ids.shape[1]} positions, the model {form.longest}", "cut them, or raise context_length"
        )
    return ranged(whole_numbers(ids, called), form.vocab_size, called, ignored=False)


def whole_numbers(x: Tensor, called: str) -> Tensor:
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise UserError(WHERE, f"{called} are {str(x.dtype).removeprefix('torch.')}", "give integers")
    return x.long()


def ranged(x: Tensor, end: int | None, called: str, *, ignored: bool = True) -> Tensor:
    """The same, looked through on the CPU alone: on a GPU that would wait for the device at every batch.

    Args:
        x: integers.
        end: each is below it; None: nobody knows.
        called: what they are, for messages.
        ignored: -100 may be among them.
    """
    if end is None or x.device.type != "cpu" or not x.numel():
        return x
    counted = x[x != IGNORED] if ignored else x
    wrong = [v for v in (int(counted.max()), int(counted.min())) if not 0 <= v < end] if counted.numel() else []
    if wrong:
        classes = called == "classes"
        what, instead = ("scores", "set model.head.n_classes") if classes else ("ids", "take the model's own tokenizer")
        raise UserError(WHERE, f"{called} have {wrong[0]}, and the model has {end} {what}, from 0 on", instead)
    return x


def masked(mask: Tensor) -> Tensor | None:
    """The mask; None where nothing is masked, so that kernels take their fast path."""
    return None if mask.device.type == "cpu" and bool(mask.all()) else mask


def shaped(x: Tensor) -> str:
    return f"({', '.join(map(str, x.shape))})"
