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


@torch.inference_mode()
def evaluate(loaded: Any, split: str = "validation", rows: int | None = None) -> dict[str, float]:
    """Loss (nats per token), perplexity and bits per byte of ``split``.

    Raises:
        UserError: the data have no such split.
    """
    config, model = loaded.config, loaded.model
    options = task_options(config)
    _, corpus = corpus_of(config, options, None, loaded.tokenizer)
    found = getattr(corpus, split)
    if not len(found.tokens):
        raise UserError(f"--split {split}", "the data have no such split", f"set task.{split}_fraction")
    objective = task_of(config, loaded.tokenizer).objective
    device = next(model.parameters()).device
    nats = weight = 0.0
    for item in Whole(
        EvaluationBlocks(found, model.context_length), rows or options["batch_size"], 0, 1, options["documents"] == "apart"
    ):
        value, own = model(item.batch.to(device), objective).losses["loss"]
        nats, weight = nats + float(value), weight + float(own)
    mean = nats / weight
    return {
        "loss": mean,
        "perplexity": perplexity(mean),
        "bits_per_byte": nats / math.log(2) / found.n_bytes,
        "targets": weight,
        "documents": float(found.n_documents),
    }
