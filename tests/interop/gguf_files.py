"""Small GGUF files and the models that they are made of, by the package itself and by transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

gguf = pytest.importorskip("gguf")
transformers = pytest.importorskip("transformers")
IDS = torch.tensor([[1, 5, 9, 30, 7, 2]])
HEADS, KV_HEADS = 8, 4
WIDE = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS}
KINDS = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}


def model_of(kind: str, tied: bool = False, rows: int = 96) -> torch.nn.Module:
    sizes = {**WIDE, "num_hidden_layers": 2, "vocab_size": rows, "max_position_embeddings": 64, "tie_word_embeddings": tied}
    more = {"head_dim": 32} if kind == "qwen3" else {}
    config = getattr(transformers, KINDS[kind].replace("ForCausalLM", "Config"))(**sizes, **more, pad_token_id=0)
    torch.manual_seed(0)
    model = getattr(transformers, KINDS[kind])(config)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.1)
    return model.eval()


def in_pairs(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """As llama.cpp's convert_hf_to_gguf.py permutes the rows of Llama's queries and keys."""
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def written(file: Path, model: torch.nn.Module, kind: str, type_: str, **values: object) -> Path:
    """A file of a model, its matrices in ``type_``; those of four and six bits, which the package does not make, are drawn."""
    out, config = gguf.GGUFWriter(file, kind), model.config
    out.add_block_count(2)
    out.add_context_length(64)
    out.add_embedding_length(256)
    out.add_feed_forward_length(512)
    out.add_head_count(HEADS)
    out.add_head_count_kv(KV_HEADS)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_freq_base(10000.0)
    out.add_rope_dimension_count(32)
    out.add_vocab_size(96)
    for name, value in values.items():
        out.add_string(name, str(value)) if isinstance(value, str) else out.add_uint32(name, value)
    table = gguf.get_tensor_name_map(next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == kind), 2)
    draw = np.random.default_rng(0)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if kind == "llama" and ("q_proj" in name or "k_proj" in name):
            tensor = in_pairs(tensor, HEADS if "q_proj" in name else KV_HEADS)
        held, theirs = tensor.numpy(), table.get_name(name, try_suffixes=(".weight", ".bias"))
        sort = gguf.GGMLQuantizationType[type_ if held.ndim == 2 else "F32"]
        if sort.name in ("Q4_K", "Q6_K"):
            shape = gguf.quant_shape_to_byte_shape(held.shape, sort)
            packed = draw.integers(0, 255, shape, dtype=np.uint8).reshape(-1, gguf.GGML_QUANT_SIZES[sort][1])
            scales = draw.uniform(1e-4, 1e-3, (len(packed), 2)).astype(np.float16).view(np.uint8)
            packed[:, :4] = scales if sort.name == "Q4_K" else packed[:, :4]
            packed[:, -2:] = packed[:, -2:] if sort.name == "Q4_K" else scales[:, :2]
            out.add_tensor(theirs, packed.reshape(shape), raw_dtype=sort)
        else:
            out.add_tensor(theirs, gguf.quants.quantize(held, sort), raw_dtype=sort)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return file


def by_transformers(file: Path) -> torch.nn.Module:
    """What ``from_pretrained(gguf_file=...)`` loads, by its own functions: that one asks for accelerate, of which it uses nothing here."""
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = transformers.AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    config.head_dim = 32  # which they do not read, and Qwen 3's default is another
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(load_gguf_checkpoint(str(file), return_tensors=True, model_to_load=model)["tensors"])
    return model.eval()
