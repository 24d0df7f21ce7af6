"""Which positions a query may see; the contract is ``functional.attention_mask.MaskRule``.

A mask may tell its ``reach``: no query sees a key that far before it or farther, so that ``cache/ring`` forgets those and CPUs never compute them.
With ``anchored = True`` pieces are counted from position 0, so that the number of keys alone does not tell whether some are hidden.
"""
