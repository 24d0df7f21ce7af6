"""A small model with one weight of each role, and its weights."""

from __future__ import annotations

import pytest
import torch
from small_model import Small, small

from components.core.weights import roles


@pytest.fixture
def small_class():
    return Small


@pytest.fixture
def model():
    return small()


@pytest.fixture
def weights(model):
    return list(roles(model))


@pytest.fixture
def ids():
    return torch.randint(0, 11, (2, 6), generator=torch.Generator().manual_seed(3))
