"""How each weight matrix is drawn: ``init(weight, generator)`` -> fp32 tensor of the full shape, or None to leave the constant."""
