"""Files made elsewhere: roles by name or by the files beside them, and what a file must not do to text."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from components import build
from components.core.errors import UserError
from components.corpus import prepare, read_tokenizer
from components.corpus.document import Document


def bert(tmp_path, names=("[PAD]", "[UNK]", "[CLS]", "[SEP]")):
    """A tokenizer.json as BERT's: adds specials, cuts at 4 tokens, pads to 8."""
    vocab = {token: i for i, token in enumerate([*names, "the", "cat", "sat", "on", "a", "mat"])}
    core = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.add_special_tokens(list(names))
    core.post_processor = processors.TemplateProcessing(
        single=f"{names[2]} $0 {names[3]}", special_tokens=[(n, vocab[n]) for n in names[2:]]
    )
    core.enable_truncation(4)
    core.enable_padding(length=8)
    core.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_nothing_is_added_cut_or_padded(tmp_path):
    tokenizer = build("tokenizer", "pretrained", path=str(bert(tmp_path)))
    ids = tokenizer.encode("the cat sat on a mat")
    assert ids == [4, 5, 6, 7, 8, 9]
    assert tokenizer.encode_batch(["the", "the cat sat on a mat"]) == [[4], ids]


def test_roles_by_usual_names(tmp_path):
    tokenizer = build("tokenizer", "pretrained", path=str(bert(tmp_path) / "tokenizer.json"))
    assert tokenizer.specials == {"unk": 1, "endoftext": 3, "bos": 2, "eos": 3, "pad": 0}


def test_roles_beside_the_file_come_first_and_are_saved_with_it(tmp_path):
    folder = bert(tmp_path, ("[PAD]", "[UNK]", "<start>", "<stop>"))
    assert "bos" not in read_tokenizer(folder).specials
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": {"content": "<start>"}, "eos_token": "<stop>", "pad_token": None})
    )
    tokenizer = build("tokenizer", "pretrained", path=str(folder))
    assert tokenizer.specials == {"unk": 1, "endoftext": 3, "bos": 2, "eos": 3, "pad": 0}
    tokenizer.save(tmp_path / "copy" / "tokenizer.json")
    assert read_tokenizer(tmp_path / "copy" / "tokenizer.json").specials == tokenizer.specials
    assert build("tokenizer", "pretrained", path=str(tmp_path / "copy")).fingerprint() == tokenizer.fingerprint()


def test_training_changes_nothing(tmp_path):
    tokenizer = build("tokenizer", "pretrained", path=str(bert(tmp_path)))
    before = tokenizer.core.to_str()
    tokenizer.train(["other words"] * 10)
    assert tokenizer.core.to_str() == before


class Lines:
    def documents(self):
        yield from (Document(f"the cat sat on a mat {'the ' * i}dog", "made") for i in range(60))

    def fingerprint(self):
        return "lines"


def test_corpus_says_what_the_tokenizer_loses(tmp_path):
    corpus = prepare(Lines(), build("tokenizer", "pretrained", path=str(bert(tmp_path))), cache=tmp_path / "cache")
    lines = "\n".join(corpus.report.lines())
    assert "60 tokens are [UNK]" in lines
    assert "0 of 60 sampled documents" in lines


def test_one_token_for_several_roles_is_no_unknown_text(tmp_path):
    """GPT-2's files name <|endoftext|> for unk, bos and eos."""
    made = build("tokenizer", "bpe", vocab_size=261)
    made.train([])
    made.save(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({f"{r}_token": "<|endoftext|>" for r in ("unk", "bos", "eos")}))
    corpus = prepare(Lines(), build("tokenizer", "pretrained", path=str(tmp_path)), cache=tmp_path / "cache")
    assert corpus.tokenizer.specials == {"unk": 1, "endoftext": 1, "bos": 1, "eos": 1, "pad": 4}
    assert corpus.report.notes == []


def test_a_tokenizer_without_an_end_is_refused(tmp_path):
    folder = bert(tmp_path, ("[PAD]", "[UNK]", "<start>", "<stop>"))
    with pytest.raises(UserError, match="no token that ends a document"):
        prepare(Lines(), build("tokenizer", "pretrained", path=str(folder)), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such tokenizer file"),
        (b"{}", "no tokenizer.json that"),
        (b"\xff\xfe", "is no UTF-8"),
        ("folder", "has no tokenizer.json"),
    ],
)
def test_what_is_no_tokenizer_is_said(tmp_path, content, words):
    file = tmp_path / "t.json"
    if content == "folder":
        file.mkdir()
    elif content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        build("tokenizer", "pretrained", path=str(file))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
