"""Measure a trained model on a split: the same tokenizer, all documents, every target once."""

from __future__ import annotations

import math
from typing import Any

import torch

from components.corpus.blocks import EvaluationBlocks
from components.errors import UserError
from components.task.building import corpus_of, task_of, task_options
from components.task.data_module import Whole
from components.task.metrics_file import perplexity
from components.task.objectives import Preparation, measures_text

SPLITS = ("train", "validation", "test")


@torch.inference_mode()
def evaluate(loaded: Any, split: str = "validation", rows: int | None = None, bar: Any = None) -> dict[str, float]:
    """Loss (nats per token), perplexity and bits per byte of ``split``, or of ``all`` splits together.

    Bits per byte are there only if the loss is the likelihood of the text, left to right.

    Raises:
        UserError: the data have no such split.
    """
    config, model = loaded.config, loaded.model
    options = task_options(config)
    if split not in (*SPLITS, "all"):
        raise UserError("split", f"there is no split {split!r}", f"splits: {', '.join(SPLITS)}, all")
    _, corpus = corpus_of(config, options, bar, loaded.tokenizer)
    splits = {s.name: s for s in (corpus.train, corpus.validation, corpus.test) if len(s.tokens)}
    found = list(splits.values()) if split == "all" else [splits[split]] if split in splits else []
    if not found:
        raise UserError(f"--split {split}", "the data have no such split", f"set task.{split}_fraction, or take --split all")
    task = task_of(config, loaded.tokenizer)
    preparation = Preparation(task.loss, config["seed"])
    device = next(model.parameters()).device
    nats = weight = 0.0
    for one in found:
        blocks = EvaluationBlocks(one, model.context_length)
        apart = options["documents"] == "apart"
        for item in Whole(blocks, rows or options["batch_size"], 0, 1, apart, preparation=preparation):
            value, own = model(item.batch.to(device), task.objective).losses["loss"]
            nats, weight = nats + float(value), weight + float(own)
    mean = nats / weight
    n_bytes = sum(s.n_bytes for s in found)
    bits = {"bits_per_byte": nats / math.log(2) / n_bytes} if measures_text(task.loss, model) else {}
    return {
        "loss": mean,
        "perplexity": perplexity(mean),
        **bits,
        "targets": weight,
        "documents": float(sum(s.n_documents for s in found)),
        "documents_in_all": float(sum(s.n_documents for s in splits.values())),
    }
