"""Lowerre 1976; Wu et al. 2016 (length penalty), arXiv:1609.08144, section 7. Scores and endings are those of transformers' ``generate``."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import Batch, Makers, make_all
from components.parts.decoding._decoding import Decoding, Wanted
from components.parts.decoding._loop import checked, feed_of, writing

NEVER = -1e9  # of what must not be chosen; finite, so that sums stay numbers


@register("decoding", "beam")
class Beam(Decoding):
    """Beam search: keep the likeliest unfinished texts at every step, and give the best finished one back.

    The score of a text is the sum of its log-probabilities, divided by (number of new tokens) ** length_penalty once it is finished.
    A text that reaches ``max_new_tokens`` is finished. Tokens are given to ``on_token`` at the end, since the best text may change until then.

    Args:
        beam_size: texts that are kept for each prompt.
        length_penalty: above 0 favours longer texts, below 0 shorter ones; 0: sums as they are.
        early_stopping: when a prompt is done. full: as soon as beam_size texts are finished; estimate: when the best unfinished score at its
            present length is no better than the worst finished; never: when no unfinished text can become better.
        samplers: what shapes the log-probabilities, applied in this order: penalties, and what is forbidden.
    """

    def __init__(
        self,
        *,
        beam_size: Positive = 4,
        length_penalty: float = 1.0,
        early_stopping: Literal["full", "estimate", "never"] = "estimate",
        samplers: Makers["sampler"] = (),
    ) -> None:
        self.samplers = make_all(samplers, "sampler")
        self.beam_size, self.length_penalty, self.early_stopping = beam_size, length_penalty, early_stopping

    def written(self, model: Any, batch: Batch, wanted: Wanted) -> Tensor:
        limit, most, room = checked(model, batch, wanted)
        if most < 1:
            return batch.ids.clone()
        with writing(model, self.weights, most, len(batch.ids) * self.beam_size):
            feed = feed_of(model, batch, wanted, limit)
            found = self._search(feed, batch, most, room, wanted)
        if wanted.on_token is not None:
            for column in found[:, batch.ids.shape[1] :].unbind(1):
                wanted.on_token(column)
        return found.clone()

    def _search(self, feed: Any, batch: Batch, most: int, room: Tensor | None, wanted: Wanted) -> Tensor:
        """(B, T + new), the best text of each row."""
        given, stop_ids, over = batch.ids, wanted.stop_ids, wanted.over
        valid = None if batch.valid is None else F.pad(batch.valid, (0, most), value=True).repeat_interleave(self.beam_size, 0)
        rows, prompt, n, device = given.shape[0], given.shape[1], self.beam_size, given.device
        stops = torch.tensor(list(stop_ids), dtype=torch.long, device=device)
        first = torch.arange(rows, device=device)[:, None] * n
        ids = F.pad(given, (0, most), value=wanted.fill).repeat_interleave(n, 0)
        sums = torch.full((rows, n), NEVER, device=device)
        sums[:, 0] = 0.0  # all beams are still the same
        texts, scores = ids.view(rows, n, -1).clone(), torch.full((rows, n), NEVER, device=device)
        finished = torch.zeros(rows, n, dtype=torch.bool, device=device)
        open_ = torch.ones(rows, 1, dtype=torch.bool, device=device)  # may the row still become better?
        limit: Tensor | int = most if room is None else room[:, None]
        last = 0
        for step in range(most):
            end = prompt + step
            logits = feed(given, prompt).repeat_interleave(n, 0) if step == 0 else feed(ids, end)
            if step == 0:
                feed.reorder(torch.arange(rows, device=device).repeat_interleave(n))
            shaped = logits.float().log_softmax(-1)
            for sampler in self.samplers:
                shaped = sampler(shaped, ids[:, :end], None if valid is None else valid[:, :end])
            total = (sums[..., None] + shaped.clamp(min=NEVER).view(rows, n, -1)).flatten(1)
            best, index = total.topk(min(max(2, 1 + len(stop_ids)) * n, total.shape[1]))
            parent, token = index // logits.shape[-1], index % logits.shape[-1]
            made = ids[(first + parent).flatten()]
            made[:, end] = token.flatten()
            ended = torch.isin(token, stops)
            if over is not None:
                ended = ended | over(made[:, : end + 1]).view_as(ended)
            if step + 1 == most:
                ended = torch.ones_like(ended)
            elif room is not None:
                ended = ended | (step + 1 >= limit)
            sums, chosen = torch.where(ended, best + NEVER, best).topk(n)
            order = (first + parent.gather(1, chosen)).flatten()
            made = made.view(rows, best.shape[1], -1)
            ids = made.gather(1, chosen[..., None].expand(-1, -1, made.shape[-1])).flatten(0, 1)
            # only the first n candidates may finish; the others are there so that n go on
            among = ended & (torch.arange(best.shape[1], device=device) < n)
            shut = ~open_ | (finished.all(-1, keepdim=True) & (self.early_stopping == "full"))
            new = best / (step + 1) ** self.length_penalty + NEVER * ((~among).float() + shut.float())
            scores, kept = torch.cat((scores, new), 1).topk(n)
            texts = torch.cat((texts, made), 1).gather(1, kept[..., None].expand(-1, -1, made.shape[-1]))
            finished = torch.cat((finished, among), 1).gather(1, kept)
            last = step + 1
            open_ = open_ & self._may_improve(sums, scores, finished, step + 1, limit) & (step + 1 < limit)
            if not open_.any() or (self.early_stopping == "full" and finished.all()) or step + 1 == most:
                break
            feed.reorder(order)
        text = texts[:, 0]
        return text[:, : prompt + last] if over is not None or not stop_ids else _shortest(text, prompt, last, stops)

    def _may_improve(self, sums: Tensor, scores: Tensor, finished: Tensor, length: Tensor | int, most: Tensor | int) -> Tensor:
        """(B, 1): could an unfinished text become better than the worst finished one? ``most``: tokens it may have, (B, 1) or for all."""
        if self.early_stopping == "never" and self.length_penalty > 0:
            length = most
        worst = torch.where(finished, scores.min(1, keepdim=True).values, torch.full_like(scores, NEVER))
        return (sums[:, :1] / length**self.length_penalty > worst).any(-1, keepdim=True)


def _shortest(text: Tensor, prompt: int, last: int, stops: Tensor) -> Tensor:
    """Without the columns in which every row is over already."""
    stopped = torch.isin(text[:, prompt : prompt + last], stops)
    ends = torch.where(stopped.any(1), stopped.int().argmax(1) + 1, torch.full_like(stopped[:, 0].int(), last))
    return text[:, : prompt + int(ends.max())]
