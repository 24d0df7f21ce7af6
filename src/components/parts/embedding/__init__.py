"""ids (B, T) -> vectors (B, T, D): ``embedding(ids, info)``.

``dropout``, where a part has it: the probability with which the model drops entries of token plus position, after ``embedding_norm``."""
