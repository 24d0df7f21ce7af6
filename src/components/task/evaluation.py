"""Measure a trained model on a split: the same tokenizer, all documents, every target once."""

from __future__ import annotations

import math
from typing import Any

import torch

from components.errors import UserError
from components.task.building import corpus_of, task_of, task_options
from components.task.data_module import Item, Whole
from components.task.metrics_file import perplexity
from components.task.objectives import Preparation, counts_tokens, measures_text

SPLITS = ("train", "validation", "test")


@torch.inference_mode()
def evaluate(loaded: Any, split: str = "validation", rows: int | None = None, bar: Any = None) -> dict[str, float]:
    """Loss, perplexity of tokens (nats), bits per byte and the task's metrics of ``split``, or of ``all`` splits together.

    Bits per byte are there only if the loss is the likelihood of the text, left to right.

    Raises:
        UserError: the data have no such split.
    """
    config, model = loaded.config, loaded.model
    options = task_options(config)
    if split not in (*SPLITS, "all"):
        raise UserError("split", f"there is no split {split!r}", f"splits: {', '.join(SPLITS)}, all")
    _, corpus = corpus_of(config, options, bar, loaded.tokenizer)
    task = task_of(config, loaded.tokenizer)
    task.model = model
    splits = {name: blocks for name in SPLITS if (blocks := task.blocks(corpus, name, model.context_length)) is not None}
    found = list(splits.values()) if split == "all" else [splits[split]] if split in splits else []
    if not found:
        raise UserError(f"--split {split}", "the data have no such split", f"set task.{split}_fraction, or take --split all")
    preparation = Preparation(task.loss, config["seed"])
    device = next(model.parameters()).device
    task.metrics.to(device)
    for blocks in found:
        for item in Whole(blocks, rows or task.batch_size, 0, 1, task.documents == "apart", preparation=preparation):
            task.validation_step(Item(item.batch.to(device), item.totals), 0)
    means, nats, weight = task.take_eval()
    loss = means.pop("loss")
    n_bytes = sum(b.n_bytes for b in found)
    return {
        "loss": loss,
        **({"perplexity": perplexity(loss)} if counts_tokens(task.loss) else {}),
        **({"bits_per_byte": nats / math.log(2) / n_bytes} if measures_text(task.loss, model) else {}),
        **means,
        "targets": weight,
        "documents": float(sum(b.n_documents for b in found)),
        "documents_in_all": float(sum(b.n_documents for b in splits.values())),
    }
