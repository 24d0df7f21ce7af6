"""How one of our models is held to a class of transformers: a tiny random model of theirs, saved, read by us, compared."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from components.core.resources import recipe_files
from components.core.sockets import Batch
from components.interop import convert
from components.interop.architecture import architectures

LENGTH = 24

# tiny sizes under the names that most classes have
SMALL = {"vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4}
GROUPED = {**SMALL, "num_key_value_heads": 2, "max_position_embeddings": 64}
WIDE = {**GROUPED, "head_dim": 16}  # heads that are not d_model / n_heads wide
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


@dataclass(frozen=True)
class Oracle:
    """One row: a class of transformers, a tiny config of it, and the recipes of its published sizes.

    Args:
        name: of the row.
        cls: name of the class in transformers.
        config: name of its config's class, and the fields of a tiny one.
        recipes: names under recipes/, each quoting the config.json it was taken from.
        std: of the redrawn parameters; small enough for stable softmaxes, large enough for every part to matter.
        window: a length at which its mask hides something; the comparison runs at twice it.
        scaled: a length beyond the original context, where frequencies are scaled.
        padded: whether its class takes left padding by an attention mask.
        generates: whether greedy text is compared.
        first_position: the number that their class gives to the first token.
        source: an encoder-decoder: ids of a source are given too.
        untied: their class ties the head to the embedding, the published config does not, so that one matrix more is counted.
        prepare: called with their model before it is saved (buffers that training would set).
    """

    name: str
    cls: str
    config: tuple[str, dict[str, Any]]
    recipes: tuple[str, ...] = ()
    std: float = 0.1
    window: int | None = None
    scaled: int | None = None
    padded: bool = True
    generates: bool = True
    first_position: int = 0
    source: bool = False
    untied: bool = False
    prepare: Callable[[nn.Module], None] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.name

    @property
    def label(self) -> str:
        """Of the mapping that reads the class."""
        return next(a.label for a in architectures() if self.cls in a.names)

    @property
    def length(self) -> int:
        return max(LENGTH, 2 * (self.window or 0), self.scaled or 0)


def theirs(oracle: Oracle) -> nn.Module:
    """Their tiny model with every parameter redrawn."""
    import transformers

    name, fields = oracle.config
    config = getattr(transformers, name)(**fields)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = getattr(transformers, oracle.cls)(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in (p for p in model.parameters() if p.requires_grad):
            p.copy_(torch.empty(p.shape).normal_(0.0, oracle.std, generator=generator))
    if oracle.prepare is not None:
        oracle.prepare(model)
    return model


def ours(imported: convert.Imported) -> nn.Module:
    """Our model with the imported weights, in eval mode."""
    from components.core.weights import initialise

    model = convert.on_meta(imported.config, convert.vocab_of(imported.recipe)).to_empty(device="cpu")
    initialise(model, model.init, 0)
    model.load_state_dict(imported.weights)
    return model.eval()


@dataclass(frozen=True)
class Pair:
    """Both models of one row and the folder that theirs was saved to."""

    theirs: nn.Module
    ours: nn.Module
    imported: convert.Imported
    folder: Path
    vocab: int

    def ids(self, rows: int = 2, length: int = LENGTH, seed: int = 0) -> torch.Tensor:
        return torch.randint(5, self.vocab, (rows, length), generator=torch.Generator().manual_seed(seed))


def made(oracle: Oracle, folder: Path) -> Pair:
    model = theirs(oracle)
    model.save_pretrained(folder)
    imported = convert.read_folder(folder)
    return Pair(model, ours(imported), imported, folder, convert.vocab_of(imported.recipe))


def close(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference relative to the largest value of ``b``."""
    return ((a - b).abs().max() / b.abs().max()).item()


@torch.no_grad()
def logits_of_theirs(oracle: Oracle, pair: Pair, ids: torch.Tensor, **more: Any) -> torch.Tensor:
    if oracle.source:
        more = {"decoder_input_ids": ids, **more}
        return pair.theirs(input_ids=source_ids(pair), **more).logits
    return pair.theirs(input_ids=ids, **more).logits


@torch.no_grad()
def logits_of_ours(oracle: Oracle, pair: Pair, ids: torch.Tensor, **more: Any) -> torch.Tensor:
    source = Batch(source_ids(pair)) if oracle.source else None
    return pair.ours(Batch(ids, source=source, **more))


def source_ids(pair: Pair) -> torch.Tensor:
    return pair.ids(2, 11, seed=9)


def target_ids(pair: Pair) -> torch.Tensor:
    """What a target begins with: their generation puts its first token before whatever else it is given."""
    begin = torch.full((2, 1), pair.theirs.generation_config.decoder_start_token_id)
    return torch.cat([begin, pair.ids(2, 3, seed=3)], 1)


def quoted(recipe: str) -> dict[str, Any]:
    """The config.json that a recipe quotes in its comments, between ``# config.json:`` and the next line that is no comment."""
    text = recipe_files()[recipe][1].read_text(encoding="utf8")
    found = re.search(r"^# config\.json[^\n{]*(\{.*?^# \}|\{[^\n]*\})$", text, re.MULTILINE | re.DOTALL)
    assert found, f"recipes/{recipe}.yaml quotes no config.json"
    return json.loads(re.sub(r"^# ?", "", found[1], flags=re.MULTILINE))


def published_parameters(oracle: Oracle, source: dict[str, Any]) -> int:
    """What a model of a published config.json has, by their class."""
    fields = {k: v for k, v in source.items() if k not in ("architectures", "model_type", "transformers_version")}
    count = parameters_of_theirs(oracle.cls, oracle.config[0], json.dumps(fields, sort_keys=True))
    return count + source["vocab_size"] * source["d_model"] if oracle.untied else count


@cache
def parameters_of_theirs(cls: str, config: str, fields: str) -> int:
    """Of their class on meta; ``fields`` as JSON. A parameter that two modules share counts once, a frozen table of sinusoids not at all."""
    import transformers

    with torch.device("meta"):
        model = getattr(transformers, cls)(getattr(transformers, config)(**json.loads(fields)))
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
