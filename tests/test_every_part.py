"""The contract, once per kind, over everything that is registered: one test for each part and property (``-k gated_delta_net`` runs one part)."""

from __future__ import annotations

import pytest

from components.check import Case, battery, checked_kinds
from components.check.cases import LACKS
from components.core import registry
from components.core.registry import static_entries

# what is installed, not what other test modules registered in this process
PARTS = [f"{kind}/{name}" for kind, name in sorted(static_entries()) if kind in checked_kinds()]
PARTS = [p for p in PARTS if p not in ("tokenizer/pretrained", "tokenizer/of_run")]  # they are read from files
UNCHECKED = {"decoding", "task", "callback", "logger", "strategy", "trainer"}  # they have tests of their own


def cases_of(part: str) -> list[Case]:
    """The part's battery; where even that cannot be made, a case that says why."""
    try:
        return battery(part)
    except Exception as e:
        fault = e

        def fail() -> None:
            raise fault

        kind, name = part.split("/")
        entry = registry.entry(kind, name)
        return [Case(type("Unmade", (), {"label": part, "kind": kind, "signature": entry.signature})(), "can be made", fail)]


CASES = [case for part in PARTS for case in cases_of(part)]


def test_there_are_parts_and_properties():
    assert len(PARTS) >= 50
    assert len(CASES) > 20 * len([p for p in PARTS if p.startswith(("attention/", "norm/", "ffn/"))])
    assert {case.subject.label for case in CASES} == set(PARTS)
    assert {kind for kind, _ in static_entries()} - set(checked_kinds()) <= UNCHECKED


@pytest.mark.parametrize("case", CASES, ids=str)
def test_part(case):
    case()


def test_few_parts_lack_anything():
    lacking = {e.label: e.signature.declared["lacks"] for e in static_entries().values() if e.signature.declared.get("lacks")}
    assert len(lacking) <= 14, lacking
    assert {word for words in lacking.values() for word in words} <= set(LACKS)
