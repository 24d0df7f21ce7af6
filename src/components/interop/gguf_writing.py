"""Writes a model as a GGUF file that llama.cpp loads, with the keys, names and order of rows of its convert_hf_to_gguf.py, by the package ``gguf``.

github.com/ggml-org/llama.cpp/tree/master/conversion (base.py, llama.py, qwen.py)
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
from torch import Tensor

from components.core.config_types import Config
from components.core.errors import UserError
from components.core.files import make_folder, whole
from components.core.on_demand import OnDemand, outline
from components.interop import convert, tensors
from components.interop.architecture import Architecture
from components.interop.compare import explicit
from components.interop.config import at
from components.interop.gguf_file import (
    ARCHITECTURES,
    SIZES,
    Writer,
    config_in,
    gguf_package,
    module_of,
    paired_heads,
    their_names,
)
from components.interop.gguf_header import TYPES, Entry, Header
from components.interop.gguf_vocabulary import add_vocabulary
from components.interop.rotary_layout import halved

OutType = Literal["F32", "F16", "Q8_0"]
CLASSES = {name: kind for kind, (name, _) in ARCHITECTURES.items()}
NAMED = {"F32": "ALL_F32", "F16": "MOSTLY_F16", "Q8_0": "MOSTLY_Q8_0"}
BLOCKS = {name: (block, width) for name, block, width in TYPES.values()}
MOST = {"F16": 65504.0, "Q8_0": 127 * 65504.0}  # a block of Q8_0 is 32 times -127 to 127, and a scale in F16
INSTEAD = "leave .gguf away: --to FOLDER writes any decoder"


@dataclass(frozen=True)
class Form:
    """A model as one of the classes that a GGUF file can hold: its config.json, its tensors by their names in transformers."""

    architecture: Architecture
    kind: str  # what the file calls it
    fields: Config
    config: Config
    weights: Mapping[str, Tensor]

    def tensors(self, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) made of ``weights``, one after another."""
        spelled = explicit(self.config)
        return tensors.written(self.architecture, weights, lambda path: at(spelled, path))


def form_of(config: Config, weights: Mapping[str, Tensor], vocab_size: int, prefer: str | None = None) -> Form:
    """The model as the class ``prefer``, or as another that GGUF files are read of.

    Raises:
        UserError: it is none of them.
    """
    turned = halved(config)
    try:
        made, turn = (config, None) if turned is None else turned
        architecture, fields = convert.architecture_for(made, vocab_size, prefer if prefer in CLASSES else None, CLASSES)
    except UserError as e:
        raise UserError(e.where, e.what, INSTEAD) from None
    if turn is not None:
        weights = OnDemand(outline(weights), lambda name, held=weights: turn(name, held[name]))
    return Form(architecture, CLASSES[architecture.label], fields, made, weights)


def write_gguf(
    form: Form, vocab_size: int, file: Path, outtype: OutType, *, name: str, files: Mapping[str, str], ids: Mapping[str, int]
) -> tuple[int, str]:
    """(tensors written, a note about the tokenizer). The file is there as a whole, or not at all; one tensor at a time is in memory.

    Args:
        form: the model.
        vocab_size: rows of its embedding.
        file: to write.
        outtype: of matrices. Vectors are F32, and F16 is what Q8_0 cannot hold: rows that are no blocks of 32.
        name: of the model, in the file.
        files: the tokenizer's, as an exported folder has them.
        ids: of special tokens, by their names in config.json.

    Raises:
        UserError: the keys of a GGUF file do not say all of this model, a number is too large for its type, or the file cannot be written.
    """
    package = gguf_package(file)
    entries = _entries(package, form, outtype)
    writer = package.GGUFWriter(None, form.kind)
    writer.add_type(package.GGUFType.MODEL)
    writer.add_name(name)
    count = sum(math.prod(entry.shape) for _, entry in entries.values())
    writer.add_size_label(package.size_label(count, count, 0, 0))
    _add_sizes(writer, form, vocab_size)
    writer.add_file_type(package.LlamaFileType[NAMED[outtype]])
    writer.add_quantization_version(package.GGML_QUANT_VERSION)
    note = add_vocabulary(package, writer, files, {**form.fields, **ids}, vocab_size)
    _check(writer, form, entries, vocab_size)
    for theirs, entry in entries.values():
        sort = package.GGMLQuantizationType[entry.type]
        writer.add_tensor_info(theirs, entry.shape, np.dtype(np.float32), entry.size, raw_dtype=sort)
    make_folder(file.parent)
    with whole(file) as stream:
        writer.fout, writer.state = [stream], type(writer.state).EMPTY  # by itself it opens a path
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.write_padding(stream, stream.tell())
        for held, tensor in form.tensors(form.weights):
            packed = _packed(package, held, tensor, entries[held][1].type, form)
            stream.write(packed)
            writer.write_padding(stream, packed.nbytes)
    return len(entries), note


def _entries(package: ModuleType, form: Form, outtype: OutType) -> dict[str, tuple[str, Entry]]:
    """{name in transformers: (name in the file, type, shape and bytes)}, in the order in which they are written."""
    names = {theirs: name for name, theirs in their_names(package, form.kind, form.fields["num_hidden_layers"]).items()}
    made: dict[str, tuple[str, Entry]] = {}
    for held, like in form.tensors(outline(form.weights)):
        if held not in names:
            raise UserError("export", f"a GGUF file of {form.kind} has no name for {held}", INSTEAD)
        shape = tuple(like.shape)
        sort = outtype if len(shape) > 1 else "F32"
        sort = "F16" if like.shape[-1] % BLOCKS[sort][0] else sort
        block, width = BLOCKS[sort]
        made[held] = names[held], Entry(sort, shape, 0, math.prod(shape) // block * width)
    return made


def _add_sizes(writer: Writer, form: Form, vocab_size: int) -> None:
    """What config.json says, under llama.cpp's keys; its methods are called as the keys are."""
    fields = form.fields
    if lacking := [n for n in SIZES.values() if fields.get(n) is None]:
        raise UserError("export", f"the model has no {', '.join(lacking)}, which a GGUF file states", INSTEAD)
    writer.add_block_count(fields["num_hidden_layers"])
    writer.add_context_length(fields["max_position_embeddings"])
    writer.add_embedding_length(fields["hidden_size"])
    writer.add_feed_forward_length(fields["intermediate_size"])
    writer.add_head_count(fields["num_attention_heads"])
    writer.add_head_count_kv(fields.get("num_key_value_heads") or fields["num_attention_heads"])
    writer.add_rope_freq_base(fields["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(fields["rms_norm_eps"])
    width = fields.get("head_dim") or fields["hidden_size"] // fields["num_attention_heads"]
    if form.kind != "qwen2":  # its class derives the width
        writer.add_key_length(width)
        writer.add_value_length(width)
    if form.kind == "llama":
        writer.add_rope_dimension_count(width)
    writer.add_vocab_size(vocab_size)


def _check(writer: Writer, form: Form, entries: Mapping[str, tuple[str, Entry]], vocab_size: int) -> None:
    """What our own reader makes of these keys is this model, or nothing is written: windows, scaled positions and biases have no key."""
    values = {key: _as_held(pair.value) for key, pair in writer.kv_data[0].items()}
    header = Header(values, {theirs: entry for theirs, entry in entries.values()})
    config = config_in(header, "export", form.kind) | {"tie_word_embeddings": "lm_head.weight" not in entries}
    if differing := convert.apart(form.architecture, config, form.config, vocab_size):
        raise UserError(
            "export", f"a GGUF file of {form.kind} does not say all of this model: {'; '.join(differing[:6])}", INSTEAD
        )


def _as_held(value: object) -> object:
    """Numbers are fp32 in the file."""
    return struct.unpack("<f", struct.pack("<f", value))[0] if isinstance(value, float) else value


def _packed(package: ModuleType, name: str, tensor: Tensor, sort: str, form: Form) -> memoryview:
    """The bytes of a tensor."""
    heads = paired_heads(form.kind, form.fields).get(module_of(name))
    if heads is not None:
        tensor = tensor.reshape(heads, 2, -1, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)
    held = tensor.detach().float().contiguous().numpy()
    if sort != "F32" and np.abs(held).max(initial=0.0) > MOST[sort]:
        raise UserError(name, f"has numbers that {sort} cannot hold", "--outtype F32")
    made = package.quants.quantize(held, package.GGMLQuantizationType[sort])
    return np.ascontiguousarray(made).reshape(-1).view(np.uint8).data
