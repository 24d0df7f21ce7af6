"""How a branch's output is written into the stream: ``open`` and ``close`` once by the stack, ``read`` and ``write`` per branch."""
