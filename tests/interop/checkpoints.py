"""Small checkpoints as others publish them: weights of transformers' class, drawn, with a tokenizer that was trained for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import foreign_tokenizers
import torch

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def llama(folder: Path, *, dtype: torch.dtype = torch.float32, rows: int | None = None, **more: Any) -> Path:
    """With ``<s>`` before every text. ``rows``: of the embedding, if it has more than the tokenizer has ids."""
    import transformers

    foreign_tokenizers.metaspace(folder)
    size = rows or len(transformers.AutoTokenizer.from_pretrained(folder))
    config = transformers.LlamaConfig(
        vocab_size=size, max_position_embeddings=64, num_key_value_heads=2, bos_token_id=1, eos_token_id=2, **{**SIZES, **more}
    )
    return _saved(transformers.LlamaForCausalLM(config), folder, dtype)


def gpt2(folder: Path) -> Path:
    """With nothing before a text."""
    import transformers

    foreign_tokenizers.byte_level(folder, begins=False)
    size = len(transformers.AutoTokenizer.from_pretrained(folder))
    config = transformers.GPT2Config(
        vocab_size=size, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=1
    )
    return _saved(transformers.GPT2LMHeadModel(config), folder)


def t5(folder: Path) -> Path:
    import transformers

    foreign_tokenizers.unigram(folder)
    size = len(transformers.AutoTokenizer.from_pretrained(folder))
    config = transformers.T5Config(
        vocab_size=size, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    return _saved(transformers.T5ForConditionalGeneration(config), folder)


def bart(folder: Path, **more: Any) -> Path:
    """With ``<s>`` and ``</s>`` around every text, and ``</s>`` before what the decoder writes."""
    import transformers

    foreign_tokenizers.byte_level(folder, begins=True, ends=True)
    size = len(transformers.AutoTokenizer.from_pretrained(folder))
    sides = {
        f"{side}_{n}": v for side in ("encoder", "decoder") for n, v in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 64))
    }
    tokens = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 3, "decoder_start_token_id": 1, "forced_eos_token_id": None}
    config = transformers.BartConfig(vocab_size=size, d_model=32, max_position_embeddings=64, **sides, **{**tokens, **more})
    return _saved(transformers.BartForConditionalGeneration(config), folder)


def bert(folder: Path) -> Path:
    """The class without a head, and a tokenizer that is vocab.txt alone."""
    import transformers

    foreign_tokenizers.wordpiece(folder)
    size = len((folder / "vocab.txt").read_text(encoding="utf8").splitlines())
    config = transformers.BertConfig(vocab_size=size, max_position_embeddings=64, **SIZES)
    return _saved(transformers.BertModel(config, add_pooling_layer=False), folder)


def _saved(model: Any, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.empty(p.shape).normal_(0.0, 0.1, generator=generator))
    model.to(dtype).save_pretrained(folder)
    return folder


def changed(folder: Path, **fields: Any) -> Path:
    """config.json with other values; None takes a field out."""
    file = folder / "config.json"
    held = {**json.loads(file.read_text()), **fields}
    file.write_text(json.dumps({n: v for n, v in held.items() if v is not None or n not in fields}))
    return folder
