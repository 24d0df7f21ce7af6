"""What does not fit, in few words: faults of equal layers are one, and a name that is nearly another is called a typo."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from components.core.slices import canonical
from components.interop.architecture import Rule, pattern

SHOWN = 12  # faults that are listed; the rest is counted
NEAR = 0.85  # how like two names are, of which one may be a typo


def grouped(faults: Iterable[tuple[str, str]]) -> list[str]:
    """(name, what is wrong with it), those that differ by a number alone as one: ``layers.{i}.norm.weight is missing (layers 0_2)``."""
    alike: dict[tuple[str, str], list[str]] = {}
    for name, said in faults:
        alike.setdefault((_pattern(name), said), []).append(name)
    lines = []
    for (shape, said), names in alike.items():
        if len(names) == 1:
            lines.append(f"{names[0]} {said}".strip())
            continue
        firsts = sorted({int(found[1]) for name in names if (found := re.search(r"\.(\d+)(?=\.|\Z)", name))})
        many = f", {len(names)} tensors" if len(names) > len(firsts) else ""
        lines.append(f"{shape} {said}".strip() + f" (layers {', '.join(canonical(firsts, -1))}{many})")
    return lines


def listed(lines: Sequence[str], between: str = "; ") -> str:
    """The first of them, and how many there are besides."""
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return between.join(lines[:SHOWN]) + more


def typos(idle: Iterable[Rule], uncovered: Iterable[str]) -> list[str]:
    """Rules that match none of our tensors, and whose name is nearly one that no rule covers."""
    left = {_pattern(name): name for name in uncovered}
    found = []
    for rule in idle:
        for ours in rule.our_names:
            meant = difflib.get_close_matches(ours.replace("{p}", "weight"), left, 1, NEAR)
            if meant and pattern(ours).match(left[meant[0]]) is None:
                found.append(f"the rule for {rule.their_names[0]} says {ours}, which matches nothing: did you mean {meant[0]}?")
    return found


def _pattern(name: str) -> str:
    """A tensor's name with {i} for its first number and {e} for its second."""
    places = iter("ie")
    return re.sub(r"\.\d+(?=\.|\Z)", lambda m: f".{{{place}}}" if (place := next(places, "")) else m[0], name)
