"""The kinds: every family of interchangeable parts, its contract in a sentence, and the sizes that parents offer to it by name.

Not every parent has every size (``d_memory`` exists only beside an encoder). A part that works without it gives that parameter a
default. The forward contracts are in ``sockets.py``.
"""

from __future__ import annotations

from components.core.entry import declare_kind

declare_kind("tokenizer", "text <-> ids, trained on a corpus or read from a file")
declare_kind("embedding", "ids (B, T) -> vectors (B, T, D)", ("vocab_size", "d_model", "context_length", "n_layers"))
declare_kind(
    "position",
    "where a token stands: added to the embedding, rotated into queries and keys, or a bias on scores",
    ("d_model", "context_length", "n_heads", "head_dim"),
)
declare_kind(
    "attention",
    "mixes information between positions: (B, T, D) -> (B, T, D)",
    ("d_model", "context_length", "place", "d_memory"),
)
declare_kind("mask", "which positions a query may see, by the distance and place of the key", ("context_length",))
declare_kind(
    "value",
    "changes what attention will read, before it is read: (B, G, T, K) -> the same",
    ("d_model", "n_kv_heads", "head_dim", "place"),
)
declare_kind("sharing", "whose keys and values a layer reads: its own or an earlier layer's", ("place",))
declare_kind(
    "scaling", "stretches rotary frequencies beyond the length they were trained on", ("width", "base", "context_length")
)
declare_kind("gate", "scales what attention read before it is projected out", ("d_model", "n_heads", "head_dim"))
declare_kind("norm", "brings vectors to a common scale: (..., D) -> (..., D)", ("dim", "heads"))
declare_kind("ffn", "works on each position alone: (B, T, D) -> (B, T, D)", ("d_model", "place"))
declare_kind("router", "which experts each token goes to, and how much each counts", ("d_model", "n_experts"))
declare_kind("block", "order of norms and branches in one layer", ("d_model", "context_length", "place", "d_memory"))
declare_kind("residual", "how a branch's output is written into the stream", ("d_model", "place"))
declare_kind("pooling", "vectors of a sequence (B, T, D) -> one vector (B, D)", ("d_model",))
declare_kind("head", "vectors (B, T, D) -> logits (B, T, V)", ("d_model", "vocab_size", "embedding"))
declare_kind("init", "how each weight matrix is drawn, by its role", ("d_model", "n_layers"))
declare_kind(
    "stack", "how the layers of one side are wired", ("d_model", "context_length", "depth", "entries", "slices", "d_memory")
)
declare_kind("model", "a whole network: ids -> logits, or a batch and an objective -> terms", ("vocab_size",))
declare_kind("loss", "the objective: hidden vectors, head and batch -> terms to sum", ("vocab_size",))
declare_kind("optimizer", "updates the weights, by their roles", ("weights",))
declare_kind("schedule", "the factor on the learning rate at each step", ("total_steps",))
declare_kind("adapter", "small trained weights beside frozen ones, merged back exactly", ())
declare_kind("tuning", "which weights learn, and how fast each: a factor on the learning rate", ())
declare_kind("sampler", "logits -> logits, before a token is drawn", ())
declare_kind("decoding", "how a continuation is chosen token by token", ())
declare_kind("cache", "what decoding keeps of the positions already seen", ())
declare_kind("data", "a source of documents, or of examples with their answers", ())
declare_kind("task", "what is trained: model, data, loss and metrics together", ("config", "tokenizer"))
declare_kind("evaluation", "what a trained model can do: asked on held-out data, figures with their standard errors", ())
declare_kind("reward", "what an answer is worth: its text, its prompt and the data's answer -> a number", ("judge",))
declare_kind("callback", "acts on a run while it is trained: a Lightning callback, on if the config names it", ("metrics",))
declare_kind("logger", "where a run's figures go beside metrics.csv", ("folder", "config", "say", "step"))
declare_kind("strategy", "how a run is laid out on its devices: a Lightning strategy, or the name of one", ("precision",))
declare_kind("trainer", "runs the loop: Lightning's Trainer", ("every", "steps", "folder", "loggers", "callbacks"))
