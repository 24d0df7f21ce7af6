"""Export a run as a folder in Hugging Face's layout: config.json, safetensors, tokenizer files, generation_config.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, processors
from torch import Tensor

from components.compose.request import Request
from components.core.abilities import StaysAs
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.on_demand import OnDemand
from components.core.registry import entry, find
from components.core.traits import provides, why_cannot_generate
from components.corpus.foreign import token_of
from components.corpus.special_ids import first_ids, stop_ids, target_start
from components.corpus.tokens import MAP_FILE, OWN_FILE, Tokens
from components.interop import convert
from components.interop.own import LABEL
from components.interop.rotary_layout import in_halves
from components.parts.adapter._merge import merge
from components.runs import archive, checkpoints, resume, run_folder
from components.runs.generation_config import FILE as GENERATION
from components.runs.generation_config import generation_of
from components.runs.loading import model_of, vocab_size_of
from components.runs.model_card import model_card
from components.runs.run_files import read_about, read_summary
from components.runs.weights import materialise

TOKENS = ("bos", "eos", "pad", "unk")
OWN_NOTE = "transformers loads it where this package is installed, after `import components.interop.transformers`"


def export_run(run: str, to: Path, *, shard_bytes: int) -> str:
    """Write ``to`` from a checkpoint, or from a run's best one. Returns what to print about it.

    Raises:
        UserError: the model matches no known architecture and is no decoder, or ``to`` exists already. Nothing has been written then.
    """
    to = to.expanduser()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(str(to), "is there already and not empty", "name a new folder with --to")
    held = opened(run)
    tokenizer, vocab_size, source = held.tokenizer, held.vocab_size, held.source
    whole = plain_weights(vocab_size, dict(held.weights), held.config)
    config, weights = what_stays(held.config, whole)
    begins = target_start(tokenizer)[0] if provides(find("model", config["model"]["name"]), "source") else None
    own = held.ids | ({} if begins is None else {"decoder_start_token_id": begins})
    known, prefer, unlike = form_of(config, weights, vocab_size, held.prefer)
    generation, unsaid = generation_file(source.get("generation_config"), tokenizer, config["decoding"], begins)
    made = convert.write_folder(
        *known,
        vocab_size,
        to,
        extra=own,
        source=source.get("config"),
        prefer=prefer,
        bare=bool(source.get("bare")),
        shard_bytes=shard_bytes,
        files=tokenizer_files(tokenizer, config) | generation,
        card=card_of(held.folder, config, weights),
    )
    said = f"{prefer if prefer in made.names else made.label}: {len(weights)} tensors of {held.file}{held.folded(whole)}"
    notes = [f"{unlike}: {OWN_NOTE}"] if unlike else []
    notes += [f"{GENERATION} cannot say {', '.join(unsaid)}: it is not in there"] if unsaid else []
    return "\n".join([said, *notes, f"folder: {to}"])


@dataclass(frozen=True)
class Opened:
    """A run's checkpoint as an export reads it. ``weights`` are read on demand, an adapter's among them."""

    folder: Path
    file: Path
    config: Config
    tokenizer: Tokens
    vocab_size: int
    weights: OnDemand
    source: archive.Source | Mapping[str, Any]

    @property
    def prefer(self) -> str | None:
        """The class that it was imported as."""
        return (self.source.get("config", {}).get("architectures") or [self.source.get("architecture")])[0]

    @property
    def ids(self) -> dict[str, int]:
        """Ids of special tokens, by their names in config.json."""
        return {f"{role}_token_id": i for role, i in special_ids(self.tokenizer).items() if role in ("bos", "eos", "pad")}

    def folded(self, weights: Mapping[str, Tensor]) -> str:
        return "; the adapter is in the weights" if len(weights) != len(self.weights) else ""


def opened(run: str) -> Opened:
    """A run's best checkpoint, or the one that is named. UserError if there is none, or it cannot be read."""
    folder, file = run_folder.find_run(run, resume.runs_folder(Request.of([])))
    file = file or run_folder.checkpoint_of(folder, best=True)
    checkpoint, weights = checkpoints.open_weights(file)
    ours = checkpoint["components"]
    tokenizer = checkpoints.tokenizer_in(checkpoint)
    vocab_size = vocab_size_of(ours["config"], tokenizer)
    return Opened(folder, file, ours["config"], tokenizer, vocab_size, weights, ours.get("source") or {})


def card_of(folder: Path, config: Config, weights: Mapping[str, Tensor]) -> Callable[[str], str]:
    """What writes the model card of the run in ``folder``, of the class that it is given."""
    about = read_about(folder) if (folder / "run.json").exists() else None
    numbers = sum(t.numel() for t in weights.values())
    return lambda label: model_card(label, config, about, read_summary(folder), numbers)


def form_of(
    config: Config, weights: dict[str, Tensor], vocab_size: int, prefer: str | None
) -> tuple[tuple[Config, dict[str, Tensor]], str | None, str]:
    """(config and weights of a known architecture, or of our own layout where the model is none; the class to write; why it is none).

    Raises:
        UserError: it is none, and no decoder that continues text.
    """
    try:
        return known_form(config, weights, vocab_size, prefer), prefer, ""
    except UserError as e:
        if why_cannot_generate(convert.on_meta(config, vocab_size)):
            raise
        return (config, weights), LABEL, e.what


def known_form(
    config: Config, weights: dict[str, Tensor], vocab_size: int, prefer: str | None
) -> tuple[Config, dict[str, Tensor]]:
    """(config, weights) of a known architecture: as they are, or with interleaved rotary pairs permuted into halves if only that fits one, or one
    that most programs read."""
    refused: UserError | None = None
    try:
        if {prefer, *convert.COMMON} & set(convert.architecture_for(config, vocab_size, prefer)[0].names):
            return config, weights
    except UserError as e:
        refused = e
    with suppress(UserError):
        halved = in_halves(config, weights)
        if halved is not None:
            label = convert.architecture_for(halved[0], vocab_size, prefer)[0].label
            if refused is not None or label in convert.COMMON:
                return halved
    if refused is not None:
        raise refused
    return config, weights


def plain_weights(vocab_size: int, weights: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The model's own tensors, with an adapter merged into them."""
    if (config.get("adapter") or {}).get("name", "none") == "none":
        return weights
    model = model_of(config, vocab_size)
    materialise(model, "cpu", config["seed"], draw=False)
    model.load_state_dict(weights)
    return {n: t.detach() for n, t in merge(model).state_dict().items()}


def what_stays(config: Config, weights: dict[str, Tensor]) -> tuple[Config, dict[str, Tensor]]:
    """Config and weights of the model that a training leaves: a model may say that it ``stays_as`` another, which has some of its options and parts."""
    whole = find("model", config["model"]["name"])
    if not isinstance(whole, StaysAs):
        return config, weights
    options = entry("model", whole.stays_as).signature.options
    gone = tuple(f"{option}." for option in config["model"] if option not in options)
    model = {"name": whole.stays_as, **{n: v for n, v in config["model"].items() if n in options}}
    return {**config, "model": model}, {n: t for n, t in weights.items() if not n.startswith(gone)}


def special_ids(tokenizer: Tokens) -> dict[str, int]:
    """Ids by the roles that transformers knows. Our token between documents is both the first and the last token of a text."""
    ids = {role: i for role, i in tokenizer.specials.items() if role in TOKENS}
    end = tokenizer.specials.get("endoftext")
    return ids if end is None or tokenizer.begins is not None else {**ids, "bos": end, "eos": end}


def generation_file(
    source: Mapping[str, object] | None, tokenizer: Tokens, node: Config, begins: int | None = None
) -> tuple[dict[str, str], list[str]]:
    """(generation_config.json: where a text begins and ends, and how it is written; what of the node ``decoding`` it cannot say).

    ``begins``: the first id of a decoder that reads a source.
    """
    first, over = first_ids(tokenizer), list(stop_ids(tokenizer))
    ends = {
        **({"bos_token_id": first[0]} if first else {}),
        **({"eos_token_id": over[0] if len(over) == 1 else over} if over else {}),
        **({"pad_token_id": tokenizer.specials["pad"]} if "pad" in tokenizer.specials else {}),
        **({} if begins is None else {"decoder_start_token_id": begins}),
        **({} if tokenizer.most is None else {"max_new_tokens": tokenizer.most}),
    }
    held, unsaid = generation_of(node, source or None, ends)
    return {GENERATION: json.dumps(held, indent=2) + "\n"}, unsaid


def tokenizer_files(tokenizer: Tokens, config: Config) -> dict[str, str]:
    """tokenizer.json and what transformers reads beside it; empty where ids are written as numbers."""
    if json.loads(tokenizer.files.get(OWN_FILE, "{}")).get("numbers"):
        return {}
    core = Tokenizer.from_str(tokenizer.core.to_str())
    first = [i for i in first_ids(tokenizer) if tokenizer.begins is None]
    if first:  # our generate begins with it, so transformers should too
        name = core.id_to_token(first[0])
        core.post_processor = processors.TemplateProcessing(single=f"{name} $A", special_tokens=[(name, first[0])])
    named = {f"{role}_token": core.id_to_token(i) for role, i in special_ids(tokenizer).items()}
    files = {n: t for n, t in tokenizer.files.items() if n != OWN_FILE}
    said = stated_in(files)
    if "tokenizer_config.json" not in files:
        about = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        length = config["model"].get("context_length")
        files["tokenizer_config.json"] = _json({**about, **({"model_max_length": length} if length else {}), **named})
    if MAP_FILE not in files and not any(token_of(said.get(n)) for n in named):
        files[MAP_FILE] = _json(named)
    return {**files, "tokenizer.json": core.to_str(pretty=True)}


def stated_in(files: dict[str, str]) -> dict[str, object]:
    return {k: v for name in (MAP_FILE, "tokenizer_config.json") if name in files for k, v in json.loads(files[name]).items()}


def _json(held: Mapping[str, object]) -> str:
    return json.dumps(held, indent=2, ensure_ascii=False) + "\n"
