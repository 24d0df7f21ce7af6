"""Text from a model: continuing, streaming, scoring, chatting. Does not import Lightning."""
