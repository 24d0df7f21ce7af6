"""A model in Hugging Face's layout whose weights are a formula, so that it is the same on every machine, and questions as lm-eval asks them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

D, LAYERS, CONTEXT, VOCAB = 32, 2, 48, 300
PLACES = ("hill", "lake", "road", "barn", "well", "mill", "gate", "yard")
TEXT = [f"the {a} is by the {p}. It was at the {p} before." for a in ("cat", "dog", "cow", "hen") for p in PLACES]


def write(folder: Path, *, begins: bool) -> Path:
    """A Llama of two layers. ``begins``: its tokenizer puts ``<s>`` before every text; else nothing, and ``</s>`` is all that it has."""
    folder.mkdir(parents=True, exist_ok=True)
    special = ["<s>", "</s>"] if begins else ["</s>"]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    core.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=VOCAB, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        ),
    )
    if begins:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))])
    core.save(str(folder / "tokenizer.json"))
    ids = {"eos_token_id": core.token_to_id("</s>"), "bos_token_id": core.token_to_id("<s>") if begins else None}
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", **({"bos_token": "<s>"} if begins else {})}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": core.get_vocab_size(),
        "hidden_size": D,
        "intermediate_size": 2 * D,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "dtype": "float32",
        **ids,
    }
    for name, held in (("config.json", config), ("tokenizer_config.json", said)):
        (folder / name).write_text(json.dumps(held))
    save_file(_weights(core.get_vocab_size()), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _weights(vocab: int) -> dict[str, torch.Tensor]:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, D), "lm_head.weight": (vocab, D)}
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        shapes |= {f"{layer}.self_attn.{n}_proj.weight": (D if n in "qo" else D // 2, D) for n in "qkvo"}
        shapes |= {f"{layer}.mlp.{n}_proj.weight": (2 * D, D) for n in ("gate", "up")}
        shapes |= {f"{layer}.mlp.down_proj.weight": (D, 2 * D)}
    held = {}
    for number, (name, shape) in enumerate(shapes.items()):
        count = torch.Size(shape).numel()
        # an irrational step that no row repeats; a hash of sines, flat enough to look drawn
        drawn = (torch.sin(torch.arange(1, count + 1, dtype=torch.float64) * (12.9898 + number)) * 43758.5453).frac()
        held[name] = (drawn.reshape(shape) * (1.0 if "embed" in name or "head" in name else 0.4)).float()
    ones = [
        "model.norm",
        *(f"model.layers.{i}.{n}" for i in range(LAYERS) for n in ("input_layernorm", "post_attention_layernorm")),
    ]
    return held | {f"{name}.weight": torch.ones(D) for name in ones}


def pairs() -> list[tuple[str, str]]:
    """(context, continuation): shared contexts, continuations of one token and of several, none before it, one that is too long, spaces at an end,
    special tokens in a text."""
    found = [(f"the {a} is by the ", p) for a in ("cat", "dog") for p in PLACES[:4]]
    found += [("the cow was at the", f" {p} before. {'It is. ' * n}") for n, p in enumerate(PLACES[:4])]
    found += [("", "the cat"), ("", "</s>the cat"), ("</s>the hen", " is"), ("It rains.\n ", "the dog")]
    found += [("the road and " * 20 + "the hen is by the", f" {p}") for p in PLACES[:3]]
    return [*found, ("the dog", " is by the barn."), ("the dog", " is"), ("the dog", " is by")]


def texts() -> list[str]:
    """The last is longer than two windows of the context."""
    return [*TEXT[:3], "", "the well is by the mill. " * 15]


def written() -> list[tuple[str, dict[str, Any]]]:
    """(context, settings): several lengths together, a stop string, a context that is cut."""
    found = [(t[: 8 + 5 * n], {"until": ["."], "max_gen_toks": 12, "do_sample": False}) for n, t in enumerate(TEXT[:5])]
    found += [("the cat", {"until": ["\n\n"], "max_gen_toks": n}) for n in (1, 20)]
    return [*found, ("the road and " * 20, {"until": [], "max_new_tokens": 8, "temperature": 0.0})]
