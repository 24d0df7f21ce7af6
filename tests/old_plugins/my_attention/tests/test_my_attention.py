"""attention/my_attention holds the contract of its kind; write beside it what is special, its paper's formula first."""

from __future__ import annotations

import pytest

from components.check import battery


@pytest.mark.parametrize("case", battery("my_attention.part:MyAttention"), ids=str)
def test_contract(case):
    case()
