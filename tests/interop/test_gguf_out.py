"""A run as a GGUF file: our reader and transformers make the same model and the same ids of it, and it is whole or not there."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import foreign_tokenizers
import numpy as np
import pytest
import torch
from gguf_files import KINDS, gguf, model_of, transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import components
from components.cli import main
from components.compose import compose
from components.core import files
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.meta import on_meta
from components.core.on_demand import OnDemand
from components.corpus.foreign import read_any
from components.interop import gguf_words
from components.interop.gguf_header import read_header
from components.interop.gguf_vocabulary import add_vocabulary
from components.interop.gguf_writing import OutType, form_of, write_gguf
from components.runs.exporting import tokenizer_files
from components.runs.gguf_tokenizer import read_in_gguf
from components.runs.importing import import_folder

ROWS = 640  # more than the tokenizers have ids
IDS = torch.tensor([[1, 5, 9, 330, 7, 2, 500, 90]])
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}{% endfor %}"
PROBES = [t for t in foreign_tokenizers.PROBES if "{bos}" not in t] + ["it's <s> in </s> 12345"]


def written(run: Path, file: Path, *words: str) -> Path:
    assert main(["export", str(run), "--to", str(file), *words]) == 0
    return file


def way_of(name: str, folder: Path) -> Path:
    """A tokenizer that divides text as llama.cpp's ``name`` does, in the form in which such a one is published."""
    steps, whole = gguf_words.WAYS[name]
    core = Tokenizer(models.BPE(ignore_merges=whole))
    made: list[pre_tokenizers.PreTokenizer] = [pre_tokenizers.Digits(individual_digits=True)] if "digits" in steps else []
    made += [pre_tokenizers.Split(Regex(s), "isolated") for s in steps if s not in ("digits", "words", "bytes")]
    made += [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex="words" in steps)]
    core.pre_tokenizer = pre_tokenizers.Sequence(made) if len(made) > 1 else made[0]
    core.normalizer = normalizers.NFC() if name == "qwen2" else None
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    names = ["<s>", "</s>", "<unk>", "<|im_start|>"]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=names, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(foreign_tokenizers.TEXT, trainer)
    core.add_tokens(["<think>"])
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)]) if whole else None
    folder.mkdir(parents=True, exist_ok=True)
    core.save(str(folder / "tokenizer.json"))
    said = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """A run of each architecture: Llama with Llama 2's kind of tokenizer, the Qwens with theirs."""
    folder = tmp_path_factory.mktemp("runs")
    for kind in KINDS:
        theirs = folder / f"{kind}_theirs"
        foreign_tokenizers.metaspace(theirs) if kind == "llama" else way_of("qwen2", theirs)
        model_of(kind, tied=kind == "qwen3", rows=ROWS).save_pretrained(theirs)
        import_folder(str(theirs), folder / kind, check=False)
    return {kind: folder / kind for kind in KINDS}


def rounded(tensor: torch.Tensor, outtype: str) -> torch.Tensor:
    """A matrix as it comes back."""
    sort = gguf.GGMLQuantizationType[outtype if tensor.ndim > 1 else "F32"]
    held = gguf.quants.quantize(tensor.float().numpy(), sort)
    return torch.from_numpy(np.array(gguf.quants.dequantize(held, sort))).reshape(tensor.shape)


@pytest.mark.parametrize(
    ("kind", "outtype"), [("llama", "F32"), ("llama", "F16"), ("llama", "Q8_0"), ("qwen2", "Q8_0"), ("qwen3", "F16")]
)
def test_our_reader_gives_the_logits_of_the_model_with_its_matrices_rounded(kind, outtype, runs, tmp_path):
    file = written(runs[kind], tmp_path / "mine.gguf", "--outtype", outtype)
    before, after = components.load(runs[kind]), components.load(file)
    with torch.no_grad():
        exact, found = before.model(IDS), after.model(IDS)
        for tensor in before.model.state_dict().values():
            tensor.copy_(rounded(tensor, outtype))
        assert torch.equal(found, before.model(IDS))
        # F16 keeps 11 bits of a number; Q8_0 is off by half of a 127th of the largest of 32
        most = {"F32": 0.0, "F16": 2**-9, "Q8_0": 2**-4}[outtype]
        assert (found - exact).abs().max() <= most * exact.abs().max()
    types = {len(e.shape): e.type for e in read_header(file).tensors.values()}
    assert types == {1: "F32", 2: outtype}
    for text in PROBES:
        assert after.tokenizer.encode(text, special_tokens=True) == before.tokenizer.encode(text, special_tokens=True), text


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_makes_of_it_what_it_makes_of_the_exported_folder(kind, runs, tmp_path):
    pytest.importorskip("accelerate", reason="transformers reads no GGUF file without it")
    written(runs[kind], tmp_path / "mine.gguf", "--outtype", "f32")
    assert main(["export", str(runs[kind]), "--to", str(tmp_path / "folder")]) == 0
    given = {"head_dim": 32} if kind == "qwen3" else {}  # which they do not read of a file
    auto = transformers.AutoModelForCausalLM
    theirs = auto.from_pretrained(tmp_path / "folder").eval()
    found = auto.from_pretrained(tmp_path, gguf_file="mine.gguf", dtype=torch.float32, **given).eval()
    with torch.no_grad():
        assert torch.equal(found(IDS).logits, theirs(IDS).logits)
    for name in ("max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "pad_token_id"):
        assert getattr(found.config, name) == pytest.approx(getattr(theirs.config, name)), name
    ours, whole = (
        transformers.AutoTokenizer.from_pretrained(tmp_path / p, **g)
        for p, g in (("", {"gguf_file": "mine.gguf"}), ("folder", {}))
    )
    # before a text that begins with a space, transformers puts none of SentencePiece's; llama.cpp and our reader do
    texts = [t for t in PROBES if kind != "llama" or not (t.startswith(" ") or "<s> " in t)]
    assert [ours(t)["input_ids"] for t in texts] == [whole(t)["input_ids"] for t in texts]
    assert ours.chat_template == whole.chat_template
    assert (kind == "llama") == (ours.chat_template is None)


def test_keys_are_those_of_llama_cpps_converter(runs, tmp_path):
    """Which were read in its conversion/base.py, llama.py and qwen.py."""
    held = {kind: read_header(written(runs[kind], tmp_path / f"{kind}.gguf")).values for kind in ("llama", "qwen2")}
    own = {
        *("block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count"),
        *("attention.head_count_kv", "rope.freq_base", "attention.layer_norm_rms_epsilon", "vocab_size"),
    }
    width = {"rope.dimension_count", "attention.key_length", "attention.value_length"}
    assert {n.removeprefix("llama.") for n in held["llama"] if n.startswith("llama.")} == own | width
    assert {n.removeprefix("qwen2.") for n in held["qwen2"] if n.startswith("qwen2.")} == own
    said = {n: v for n, v in held["qwen2"].items() if n.startswith(("general.", "tokenizer.")) and not isinstance(v, list)}
    assert said == {
        "general.architecture": "qwen2",
        "general.type": "model",
        "general.name": "qwen2",
        "general.size_label": "1.5M",
        "general.file_type": 1,
        "general.quantization_version": 2,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 2,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }
    tokens, types = (held["qwen2"][f"tokenizer.ggml.{n}"] for n in ("tokens", "token_type"))
    assert len(tokens) == len(types) == ROWS
    assert (tokens[3], types[3], types[10], tokens[500], types[500]) == ("<|im_start|>", 3, 1, "<think>", 4)
    assert (tokens[-1], types[-1]) == (f"[PAD{ROWS - 1}]", 5)
    held = held["llama"]
    assert [held[f"tokenizer.ggml.{n}"] for n in ("model", "pre", "add_bos_token")] == ["llama", "default", True]
    assert held["tokenizer.ggml.tokens"][3:5] == ["<0x00>", "<0x01>"]
    assert held["tokenizer.ggml.token_type"][:4] == [3, 3, 3, 6]
    first = held["tokenizer.ggml.merges"][0].replace(" ", "")
    assert max(held["tokenizer.ggml.scores"]) == held["tokenizer.ggml.scores"][held["tokenizer.ggml.tokens"].index(first)] == 0


@pytest.mark.parametrize("name", gguf_words.WAYS)
def test_each_way_to_divide_text_has_its_name_and_comes_back(name, tmp_path):
    found = read_any(way_of(name, tmp_path / "theirs"))
    writer = gguf.GGUFWriter(tmp_path / "words.gguf", "llama")
    for key in ("block_count", "context_length", "embedding_length", "feed_forward_length", "head_count"):
        getattr(writer, f"add_{key}")(64)
    texts = tokenizer_files(found, {"model": {}})
    assert not add_vocabulary(gguf, writer, texts, {"bos_token_id": 0, "eos_token_id": 1}, found.vocab_size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    held = read_header(tmp_path / "words.gguf").values
    assert held["tokenizer.ggml.pre"] == name
    again = read_in_gguf(tmp_path / "words.gguf")
    assert again.core.get_vocab() == found.core.get_vocab()  # transformers adds its class's <|endoftext|>
    theirs = Tokenizer.from_str(texts["tokenizer.json"])
    for text in PROBES:
        assert again.encode(text, special_tokens=True) == theirs.encode(text).ids, text


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [("char", "no form for WordLevel"), ("byte", "no BPE without merges"), ("unigram", "no form for Unigram")],
)
def test_a_tokenizer_without_a_form_is_left_out_and_said(tokenizer, said):
    core = components.build("tokenizer", tokenizer)
    core.train(foreign_tokenizers.TEXT)
    writer = gguf.GGUFWriter(None, "llama")
    note = add_vocabulary(gguf, writer, tokenizer_files(core, {"model": {}}), {}, core.vocab_size)
    assert said in note
    assert {n: v.value for n, v in writer.kv_data[0].items() if "tokenizer" in n} == {"tokenizer.ggml.model": "none"}


def write(config: Config, weights: Mapping[str, torch.Tensor], file: Path, outtype: OutType) -> None:
    write_gguf(form_of(config, weights, 300), 300, file, outtype, name="mine", files={}, ids={})


@pytest.fixture(scope="module")
def composed(tmp_path_factory) -> Iterator[Path]:
    """A trained run of our own: interleaved rotary pairs, byte-level BPE, an adapter."""
    folder = tmp_path_factory.mktemp("composed")
    text = folder / "text.txt"
    text.write_text("\n".join(foreign_tokenizers.TEXT * 8))
    words = ["recipe=llama_tiny", "data=text", f"data.path={text}", "tokenizer=bpe", "tokenizer.vocab_size=400", "adapter=lora"]
    more = ["trainer.max_steps=2", "task.validation_every=2", "task.validation_batches=1", "task.samples=0", "optimizer.lr=0.1"]
    with contextlib.chdir(folder):
        yield components.train(None, [*words, *more], quiet=True).folder.resolve()


def test_a_composed_run_with_an_adapter_comes_back_with_the_same_logits(composed, tmp_path, capsys):
    file = written(composed, tmp_path / "new" / "mine.gguf", "--outtype", "F32")
    assert "LlamaForCausalLM: 21 tensors" in (said := capsys.readouterr().out)
    assert "in F32; the adapter is in the weights" in said
    before, after = components.load(composed), components.load(file)
    ids = torch.arange(40)[None] * 7
    with torch.no_grad():
        wanted, found = before.model(ids), after.model(ids)
    assert (
        found - wanted
    ).abs().max() <= 1e-5 * wanted.abs().max()  # the adapter is added to the matrices, not to their outputs
    for text in PROBES:
        assert after.tokenizer.encode(text, special_tokens=True) == [1, *before.tokenizer.encode(text)]


def test_what_a_file_cannot_say_is_refused_before_anything_is_written(composed, tmp_path, capsys):
    for words, what in (
        (("model/norm=layer",), r"none of LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM; nearest is .*norm"),
        (("model.attention.bias=[q,k,v,out]",), r"does not say all of this model: .*bias"),
        (("model.position.scaling={name: linear, factor: 2.0}",), r"does not say all of this model: .*scaling"),
        (("model/attention=sliding_window",), "none of LlamaForCausalLM"),
    ):
        config = compose("llama_tiny", list(words)).config
        with pytest.raises(UserError, match=what) as refused:
            write(config, on_meta(config, 300).state_dict(), tmp_path / "mine.gguf", "F16")
        assert "--to FOLDER writes any decoder" in str(refused.value)
    for words, what in (
        (("--to", str(tmp_path / "a"), "--outtype", "F16"), "is the type of numbers in a GGUF file"),
        (("--to", str(tmp_path / "a.gguf"), "--adapter"), "writes PEFT's folder, and a.gguf is a file"),
        (("--to", str(tmp_path / "there.gguf")), "is there already"),
    ):
        (tmp_path / "there.gguf").write_text("mine")
        capsys.readouterr()
        assert main(["export", str(composed), *words]) == 2
        said = capsys.readouterr().err
        assert what in said
        assert said.count("\n") == 1
    assert [f.name for f in tmp_path.iterdir()] == ["there.gguf"]
    assert (tmp_path / "there.gguf").read_text() == "mine"


def test_a_number_that_a_type_cannot_hold_and_a_full_disk_leave_nothing(tmp_path, monkeypatch):
    config = compose("llama_tiny").config
    weights = {n: torch.ones(t.shape) for n, t in on_meta(config, 300).state_dict().items()}
    file = tmp_path / "mine.gguf"
    last = next(n for n in weights if n.endswith("1.block.ffn.out.weight"))
    weights[last][3, 3] = 7e4
    with pytest.raises(UserError, match=r"model\.layers\.1\.mlp\.down_proj\.weight: has numbers that F16 cannot hold"):
        write(config, weights, file, "F16")
    assert not list(tmp_path.iterdir())
    write(config, weights, file, "Q8_0")
    file.unlink()
    done = []

    def full(self: object, held: bytes) -> int:
        done.append(len(held))
        if len(done) > 9:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return io.BufferedWriter.write(self, held)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(files._Stream, "write", full)
    with pytest.raises(UserError, match="No space left"):
        write(config, weights, file, "F32")
    assert not list(tmp_path.iterdir())


def test_one_tensor_at_a_time_is_in_memory(tmp_path):
    """Of a model that reads on demand, no two tensors are held at once."""
    config = compose("llama_tiny").config
    like = on_meta(config, 300).state_dict()
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most = 0

    def read(name: str) -> torch.Tensor:
        nonlocal most
        made = torch.ones(like[name].shape)
        alive.add(made)
        most = max(most, len(alive))
        return made

    write(config, OnDemand(like, read), tmp_path / "mine.gguf", "Q8_0")
    assert most <= 2  # the one that is written, and the one that is read then
