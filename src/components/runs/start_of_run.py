"""The model as a run began with it, made again: what a loss compares with, long after the run."""

from __future__ import annotations

import torch
from torch import nn

from components.core.config_types import Config
from components.corpus.tokens import Tokens
from components.runs.init_from import begin_from, start_from
from components.runs.loading import model_of
from components.runs.preparing import runs_of
from components.runs.weights import materialise


def first_model(config: Config, tokenizer: Tokens, vocab_size: int, device: torch.device | str) -> nn.Module:
    """In eval mode: the initial values of the config's seed, under the weights of ``init_from`` where the run had that.

    Raises:
        UserError: what ``init_from`` names is gone.
    """
    model = model_of(config, vocab_size)
    origin = config.get("init_from")
    matched = begin_from(tokenizer, model, start_from(origin, runs_of(config)), lambda _: None) if origin else None
    materialise(model, device, config["seed"])
    if matched is not None:
        matched.load(model)
    return model.eval()
