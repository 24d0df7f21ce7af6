"""Small tokenizers as others save them, each trained on the spot: one folder per layout of files."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LINES = [
    "The quick brown fox jumps over the lazy dog, again and again; it's 2024 and 12345 dogs don't mind.",
    "Der schnelle Fuchs springt über den faulen Hund, während Größe und Maß sich ändern.",
    "Le renard brun saute par-dessus le chien paresseux; c'est déjà l'été à Besançon.",
    "Быстрая коричневая лиса прыгает через ленивую собаку.",
    "素早い茶色の狐がのろまな犬を飛び越える。東京は大きい。",
    "def add(a, b):\n    return a + b\n\n\tprint(add(1, 22))\n",
    "Ελληνικά και עברית و العربية مع हिन्दी 한국어 🙂 👩‍🚀.",
]
TEXT = [line for line in LINES for _ in range(6)]
# with special tokens in the middle of the text, spaces at both ends, what no vocabulary has, and nothing at all
PROBES = [
    *LINES,
    "",
    " ",
    "  two  spaces\t\ttabs \n\n\n lines  ",
    "Zażółć gęślą jaźń ሰላም ☃ \U0001f9ff ñandú ĳ ﬁ Ⅷ ½",
    "numbers 1 12 123 1234 12345 1,234.56",
    "A{bos}B {eos} C{pad}{unk} D",
]
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}


def byte_level(folder: Path, *, begins: bool, ends: bool = False) -> Path:
    """tokenizer.json as GPT-2's kin have it; ``begins``: as Llama 3, with the first token before every text; ``ends``: as BART, with the last too."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=list(SPECIALS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(TEXT, trainer)
    if begins:
        single = "<s> $A </s>" if ends else "<s> $A"
        core.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 0), ("</s>", 1)])
    else:
        core.post_processor = processors.ByteLevel(trim_offsets=False)
    return _fast(core, folder, **SPECIALS)


def metaspace(folder: Path) -> Path:
    """tokenizer.json as Llama 2's: BPE with bytes for what is unknown, no words, ``add_bos_token``."""
    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    core.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=600, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False)
    )
    held = json.loads(core.to_str())
    held["added_tokens"] = [t for t in held["added_tokens"] if not t["content"].startswith("<0x")]
    core = Tokenizer.from_str(json.dumps(held))
    return _fast(core, folder, bos_token="<s>", eos_token="</s>", unk_token="<unk>", add_bos_token=True, add_eos_token=False)


def unigram(folder: Path) -> Path:
    """tokenizer.json as T5's: Unigram with Metaspace, ``</s>`` after every text."""
    core = Tokenizer(models.Unigram())
    core.normalizer = normalizers.NFKC()
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    core.train_from_iterator(TEXT, trainer)
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return _fast(core, folder, eos_token="</s>", unk_token="<unk>", pad_token="<pad>")


def wordpiece(folder: Path) -> Path:
    """vocab.txt alone, as BERT's first checkpoints have it."""
    import transformers

    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    core.train_from_iterator(TEXT, trainers.WordPieceTrainer(vocab_size=400, special_tokens=names, show_progress=False))
    vocab = sorted(core.get_vocab().items(), key=lambda item: item[1])
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in vocab), encoding="utf8")
    transformers.BertConfig().save_pretrained(folder)
    return folder


def merges(folder: Path) -> Path:
    """vocab.json and merges.txt, as GPT-2's first checkpoint has it."""
    import transformers

    whole = byte_level(folder.with_name(folder.name + "_whole"), begins=False)
    held = json.loads((whole / "tokenizer.json").read_text(encoding="utf8"))["model"]
    vocab = {**held["vocab"], "<|endoftext|>": len(held["vocab"])}
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf8")
    lines = [m if isinstance(m, str) else " ".join(m) for m in held["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n", encoding="utf8")
    transformers.GPT2Config().save_pretrained(folder)
    return folder


def sentencepiece(folder: Path, kind: str) -> Path:
    """A SentencePiece model: ``bpe`` as Llama 2's tokenizer.model, ``unigram`` as T5's spiece.model."""
    import sentencepiece as spm
    import transformers

    folder.mkdir(parents=True)
    (folder / "text.txt").write_text("\n".join(line.replace("\n", " ") for line in TEXT), encoding="utf8")
    llama = kind == "bpe"
    ids = {"unk_id": 0, "bos_id": 1, "eos_id": 2} if llama else {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    spm.SentencePieceTrainer.train(
        input=str(folder / "text.txt"),
        model_prefix=str(folder / "m"),
        vocab_size=600 if llama else 160,
        model_type=kind,
        character_coverage=0.99,
        byte_fallback=llama,
        normalization_rule_name="identity" if llama else "nmt_nfkc",
        remove_extra_whitespaces=not llama,
        minloglevel=2,
        **ids,
    )
    (folder / "m.model").rename(folder / ("tokenizer.model" if llama else "spiece.model"))
    for name in ("text.txt", "m.vocab"):
        (folder / name).unlink()
    config = transformers.LlamaConfig() if llama else transformers.T5Config()
    config.save_pretrained(folder)
    said = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True} if llama else {"tokenizer_class": "T5Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf8")
    return folder


def ranks(folder: Path) -> Path:
    """tokenizer.model as Llama 3's: tiktoken's rank file, its special tokens in tokenizer_config.json alone."""
    import transformers

    folder.mkdir(parents=True)
    (folder / "tokenizer.model").write_bytes(rank_file())
    size = len(rank_file().splitlines())
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>"]
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    said = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": names[0],
        "eos_token": names[1],
        "add_bos_token": True,
        "added_tokens_decoder": {str(size + i): {"content": name, **flags} for i, name in enumerate(names)},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf8")
    transformers.LlamaConfig().save_pretrained(folder)
    return folder


def rank_file() -> bytes:
    """Byte pairs in the order in which they were joined."""
    from components.corpus.foreign import printable_bytes

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=450, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    core.train_from_iterator(TEXT, trainer)
    back = {c: b for b, c in printable_bytes().items()}
    joined = [m if isinstance(m, str) else " ".join(m) for m in json.loads(core.to_str())["model"]["merges"]]
    tokens = [bytes([b]) for b in range(256)]
    tokens += [bytes(back[c] for c in merge.replace(" ", "")) for merge in joined]
    return b"".join(base64.b64encode(t) + b" %d\n" % i for i, t in enumerate(dict.fromkeys(tokens)))


def _fast(core: Tokenizer, folder: Path, **options: object) -> Path:
    import transformers

    transformers.PreTrainedTokenizerFast(tokenizer_object=core, **options).save_pretrained(folder)
    return folder


def marian(folder: Path) -> Path:
    """A SentencePiece model for each side and one vocabulary for both."""
    import sentencepiece as spm
    import transformers

    folder.mkdir(parents=True)
    text = folder.with_name(folder.name + ".txt")
    text.write_text("\n".join(TEXT), encoding="utf8")
    for side in ("source", "target"):
        options = {"vocab_size": 300, "hard_vocab_limit": False, "minloglevel": 2}
        spm.SentencePieceTrainer.train(input=str(text), model_prefix=str(folder / side), **options)
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
    model = spm.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    pieces = ["</s>", "<unk>", *(model.id_to_piece(i) for i in range(3, model.get_piece_size())), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({p: i for i, p in enumerate(pieces)}), encoding="utf8")
    said = {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "de"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    transformers.MarianConfig(vocab_size=len(pieces)).save_pretrained(folder)
    return folder
