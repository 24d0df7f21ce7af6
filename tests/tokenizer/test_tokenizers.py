"""What is special to one tokenizer."""

from __future__ import annotations

from components import build


def test_byte_ids_are_the_bytes_in_order():
    tokenizer = build("tokenizer", "byte")
    every = [i + 5 for i in range(256)]
    assert tokenizer.vocab_size == 261
    assert tokenizer.encode("".join(map(chr, range(128)))) == every[:128]
    assert tokenizer.encode("é\n") == [0xC3 + 5, 0xA9 + 5, 10 + 5]
    # each byte on its own shows as its character in the library's alphabet
    assert [tokenizer.core.id_to_token(i + 5) for i in (0, 32, 65, 255)] == ["Ā", "Ġ", "A", "ÿ"]


def test_char_ids_are_in_order_of_code_points():
    tokenizer = build("tokenizer", "char", min_frequency=2)
    tokenizer.train(["baabZ", "\n\n"])
    assert tokenizer.encode("\nabZ") == [5, 6, 7, 0]
    assert tokenizer.decode([6, 0, 7]) == "a<|unk|>b"


def test_bpe_merges_the_most_frequent_pair_first():
    tokenizer = build("tokenizer", "bpe", vocab_size=263, min_frequency=1)
    tokenizer.train(["ababab cab"] * 3)
    assert [tokenizer.core.id_to_token(i) for i in (261, 262)] == ["ab", "abab"]


def test_bpe_min_frequency_stops_learning():
    tokenizer = build("tokenizer", "bpe", vocab_size=400, min_frequency=5)
    tokenizer.train(["xy"] * 4 + ["zw"] * 5)
    assert tokenizer.vocab_size == 262


def test_word_keeps_the_space_before_a_word_and_counts():
    tokenizer = build("tokenizer", "word", min_frequency=2)
    tokenizer.train(["to be or not to be", "to be"])
    assert [tokenizer.core.id_to_token(i) for i in range(5, tokenizer.vocab_size)] == [" be", "to"]
    assert tokenizer.decode(tokenizer.encode("to be be or")) == "to be be<|unk|>"


def test_unigram_takes_the_most_probable_division():
    tokenizer = build("tokenizer", "unigram", vocab_size=300)
    tokenizer.train(["hello world"] * 50 + ["hell"] * 5)
    assert len(tokenizer.encode("hello")) < len("hello")
    scores = {tokenizer.core.id_to_token(i): i for i in range(tokenizer.vocab_size)}
    assert len(scores) == tokenizer.vocab_size


def test_unigram_piece_length():
    tokenizer = build("tokenizer", "unigram", vocab_size=300, max_piece_length=2)
    tokenizer.train(["hello world"] * 50)
    assert max(len(tokenizer.core.id_to_token(i)) for i in range(5, tokenizer.vocab_size)) <= 2


def test_wordpiece_marks_what_is_inside_a_word_and_lowers_case():
    tokenizer = build("tokenizer", "wordpiece", vocab_size=40, min_frequency=1, lowercase=True)
    tokenizer.train(["Playing plays played"] * 5)
    pieces = [tokenizer.core.id_to_token(i) for i in tokenizer.encode("PLAYED")]
    assert "".join(p.removeprefix("##") for p in pieces) == "played"
    assert all(p.startswith("##") for p in pieces[1:])
    assert tokenizer.decode(tokenizer.encode("Pláyed  plays")) == "played plays"
