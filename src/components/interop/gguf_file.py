"""A GGUF file as a checkpoint in Hugging Face's layout: its config.json, and its tensors by their names there, dequantised to fp32 where they are quantised.

Names are those of the table in the package ``gguf``. llama.cpp keeps the rows of Llama's queries and keys in interleaved pairs; they are put into halves.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import torch
from torch import Tensor

from components.core.config_types import Config
from components.core.errors import UserError
from components.core.extras import lacking
from components.interop.gguf_header import Entry, Header, read_header

# gguf is no requirement, so that its types cannot be named here
Writer: TypeAlias = Any  # gguf.GGUFWriter
# what the file calls an architecture: the class, and whether its queries and keys are in pairs
ARCHITECTURES = {
    "llama": ("LlamaForCausalLM", True),
    "qwen2": ("Qwen2ForCausalLM", False),
    "qwen3": ("Qwen3ForCausalLM", False),
}
IN_LAYER = (
    *(f"self_attn.{n}" for n in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm")),
    *(f"mlp.{n}_proj" for n in ("gate", "up", "down")),
    *("input_layernorm", "post_attention_layernorm"),
)
ENDS = ("model.embed_tokens", "model.norm", "lm_head")
PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
# in the file, after the architecture's name: in config.json
SIZES = {
    "context_length": "max_position_embeddings",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "embedding_length": "hidden_size",
    "attention.head_count": "num_attention_heads",
}
# of these a model computes something that no field below says; at these values nothing
REFUSED: dict[str, tuple[object, ...]] = {
    "expert_count": (0,),
    "attention.sliding_window": (0,),
    "rope.scaling.type": ("none",),
    "attention.scale": (),
    "attention.clamp_kqv": (0.0,),
    "logit_scale": (1.0,),
}
IDS = {"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "padding_token_id": "pad_token_id"}
DEEPEST = 10_000


class GGUFTensors:
    """The tensors of a file, each read when it is asked for. ``names`` are those of transformers; what has none there keeps its own."""

    def __init__(self, file: Path, header: Header, names: Mapping[str, str], heads: Mapping[str, int]) -> None:
        self.file, self._where, self._heads = file, names, heads
        self._entries = header.tensors

    @property
    def names(self) -> set[str]:
        return set(self._where)

    @property
    def bytes(self) -> int:
        """At least as many as there are numbers: two of them share a byte at most."""
        return 2 * sum(e.size for e in self._entries.values())

    def shape(self, name: str) -> tuple[int, ...]:
        return self._entries[self._where[name]].shape

    def dtype(self, name: str) -> str:
        kind = self._entries[self._where[name]].type
        return kind if kind in PLAIN else "F32"

    def __getitem__(self, name: str) -> Tensor:
        held = _read(self.file, self._entries[self._where[name]])
        heads = self._heads.get(module_of(name))
        return held if heads is None else held.reshape(heads, -1, 2, *held.shape[1:]).swapaxes(1, 2).reshape(held.shape)

    @property
    def note(self) -> str:
        """What was done to the numbers."""
        return f"{self.file.name}: {', '.join(sorted({e.type for e in self._entries.values()}))}, dequantised to fp32 where it is quantised"


def _read(file: Path, entry: Entry) -> Tensor:
    """One tensor. It is mapped where it is not quantised."""
    before = entry.start % mmap.ALLOCATIONGRANULARITY
    with file.open("rb") as stream:
        if not entry.size:
            return torch.empty(entry.shape, dtype=PLAIN.get(entry.type, torch.float32))
        held = mmap.mmap(stream.fileno(), entry.size + before, access=mmap.ACCESS_COPY, offset=entry.start - before)
    if entry.type in PLAIN:
        return torch.frombuffer(
            held, dtype=PLAIN[entry.type], count=entry.size // PLAIN[entry.type].itemsize, offset=before
        ).reshape(entry.shape)
    import numpy as np

    quants, types = gguf_package(file).quants, gguf_package(file).GGMLQuantizationType
    packed = np.frombuffer(held, dtype=np.uint8, count=entry.size, offset=before).reshape(*entry.shape[:-1], -1)
    return torch.from_numpy(quants.dequantize(packed, types[entry.type])).reshape(entry.shape)


def is_gguf(path: Path) -> bool:
    return path.suffix == ".gguf" and not path.is_dir()


def read_gguf(file: Path) -> tuple[Config, GGUFTensors]:
    """(config.json, tensors) of a file.

    Raises:
        UserError: it is damaged, of an architecture that is not known here, or computes something that is not read.
    """
    header = read_header(file)
    values = header.values
    kind = values.get("general.architecture")
    if kind not in ARCHITECTURES:
        raise UserError(
            str(file),
            f"general.architecture={kind!r:.40} is not read: there are {', '.join(ARCHITECTURES)}",
            "take its safetensors",
        )
    config = config_in(header, str(file), kind)
    known = their_names(gguf_package(file), kind, config["num_hidden_layers"])
    names = {known.get(name, name): name for name in header.tensors}
    config["tie_word_embeddings"] = "lm_head.weight" not in names
    heads = paired_heads(kind, config)
    for held, where in names.items():
        count = heads.get(module_of(held))
        if count is not None and header.tensors[where].shape[0] % (2 * count):
            raise UserError(str(file), f"{where} has {header.tensors[where].shape[0]} rows for {count} heads", "fetch it again")
    return config, GGUFTensors(file, header, names, heads)


def config_in(header: Header, where: str, kind: str) -> Config:
    """The config.json of a file of the architecture ``kind``, but for whether its head is its embedding.

    Raises:
        UserError: it has no sizes, or says what is not read.
    """
    values = {n.removeprefix(f"{kind}."): v for n, v in header.values.items() if n.startswith(f"{kind}.")}
    for key, allowed in REFUSED.items():
        if key in values and values[key] not in allowed:
            raise UserError(
                where, f"{kind}.{key}={values[key]!r:.40} is not read, and it changes the numbers", "take its safetensors"
            )
    embedding = header.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise UserError(where, "has no token_embd.weight", "fetch it again")

    def size(key: str, default: int | None = None) -> int:
        found = values.get(key, default)
        if not isinstance(found, int) or isinstance(found, bool) or not 0 < found < 2**31:
            raise UserError(where, f"{kind}.{key}={found!r:.60} is no size", "fetch it again, or take its safetensors")
        return found

    made: Config = {"architectures": [ARCHITECTURES[kind][0]], "model_type": kind, "vocab_size": embedding.shape[0]}
    made |= {field: size(key) for key, field in SIZES.items()}
    if made["num_hidden_layers"] > DEEPEST:
        raise UserError(where, f"{kind}.block_count={made['num_hidden_layers']:,} is no number of layers", "fetch it again")
    made["num_key_value_heads"] = size("attention.head_count_kv", made["num_attention_heads"])
    made["head_dim"] = size(
        "attention.key_length", size("rope.dimension_count", made["hidden_size"] // made["num_attention_heads"])
    )
    if (
        values.get("rope.dimension_count", made["head_dim"]) != made["head_dim"]
        or values.get("attention.value_length", made["head_dim"]) != made["head_dim"]
    ):
        raise UserError(
            where, f"{kind}.rope.dimension_count or attention.value_length is not the width of a head", "take its safetensors"
        )
    if kind == "qwen2":  # its class derives the width
        del made["head_dim"]
    for key, field, default in (
        ("attention.layer_norm_rms_epsilon", "rms_norm_eps", 1e-6),
        ("rope.freq_base", "rope_theta", 10000.0),
    ):
        found = values.get(key, default)
        if not isinstance(found, (int, float)) or not 0 < found < 1e12:
            raise UserError(where, f"{kind}.{key}={found!r:.60} is no number that it may be", "fetch it again")
        # fp32 in the file, and the number that a person wrote is meant: 1e-05, not 9.999999747378752e-06
        made[field] = float(f"{found:.7g}")
    ids = {theirs: header.values.get(f"tokenizer.ggml.{ours}") for ours, theirs in IDS.items()}
    return made | {n: i for n, i in ids.items() if isinstance(i, int) and 0 <= i < made["vocab_size"]}


def paired_heads(kind: str, config: Config) -> dict[str, int]:
    """{last part of a module's name: how many heads its rows have}, where a file of ``kind`` keeps them in pairs."""
    in_pairs = ARCHITECTURES[kind][1]
    return {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]} if in_pairs else {}


def module_of(name: str) -> str:
    return name.rpartition(".")[0].rpartition(".")[2]


def their_names(package: ModuleType, kind: str, layers: int) -> dict[str, str]:
    """{name in a file of the architecture ``kind``: name in transformers}."""
    table = package.get_tensor_name_map(next(a for a, n in package.MODEL_ARCH_NAMES.items() if n == kind), layers)
    modules = [*ENDS, *(f"model.layers.{i}.{n}" for i in range(layers) for n in IN_LAYER)]
    return {table.get_name(f"{m}.{p}", try_suffixes=(f".{p}",)): f"{m}.{p}" for m in modules for p in ("weight", "bias")}


def gguf_package(file: Path) -> ModuleType:
    """The package ``gguf``. UserError, about ``file``, where it is not installed."""
    try:
        import gguf
    except ImportError:
        raise lacking(str(file), "is a GGUF file", "gguf") from None
    return gguf
