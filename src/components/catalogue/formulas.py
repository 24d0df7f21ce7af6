"""Parameters and FLOPs of a part as formulas in the sizes, found by counting at several sizes and proved by counting at others.

A part's numbers are polynomials of the width d (``d_model``), the length T (``context_length``) and the vocabulary V, as long as its other options stay:
the coefficients follow from a few models on the meta device. Where widths are rounded (``multiple_of``) no polynomial fits, and the counted
number is said instead, with its sizes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import product

import torch

from components.check.host import ON_PATH, SOURCE, Host
from components.check.measure import holder
from components.check.subject import Subject, subject_of
from components.core.errors import UserError
from components.core.flops import Work, flops_of
from components.core.registry import Entry

Sizes = tuple[int, int, int]  # d, T, V
WIDTHS, LENGTHS, VOCABS = (64, 128, 192, 256), (64, 128, 192), (40, 80)
PROOF: tuple[Sizes, ...] = ((320, 256, 120), (384, 64, 40))
SHOWN: Sizes = (256, 256, 80)  # where no formula fits
OF_VOCABULARY = ("embedding", "head", "model")  # kinds whose sizes may depend on V
SYMBOLS = ("d", "T", "V")
# exponents of d, T and V
OF_PARAMETERS = ((0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1))
OF_FLOPS = ((0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 1, 0), (1, 1, 0), (0, -1, 0), (1, -1, 0), (2, -1, 0), (1, 0, 1), (0, 0, 1))


@dataclass(frozen=True)
class Formulas:
    """Each is a formula, or a number with its sizes; empty if there is nothing to count."""

    parameters: str
    flops: str


def formulas_of(entry: Entry) -> Formulas | None:
    """The costs of a part with its default options and the parts in its sockets. None if it is not on a model's path."""
    if entry.kind not in ON_PATH or entry.kind == "init":
        return None
    vocabs = VOCABS if entry.kind in OF_VOCABULARY else VOCABS[:1]
    try:
        counted(entry.label, SHOWN)
        return Formulas(
            formula(lambda s: Fraction(counted(entry.label, s)[0]), OF_PARAMETERS, "parameters", vocabs),
            formula(lambda s: Fraction(counted(entry.label, s)[1], s[1]), OF_FLOPS, "FLOPs", vocabs),
        )
    except UserError:
        return None  # a function, or a part that has to be told more than its defaults, at some of the sizes


@cache
def counted(label: str, sizes: Sizes) -> tuple[int, int]:
    """(parameters, FLOPs of the algorithm for one sequence of T positions) of one instance in a model of these sizes."""
    d, t, v = sizes
    subject = subject_of(label)
    plain = subject_of(label)
    maker = {"name": plain.maker["name"]} if isinstance(plain.maker, dict) and not _needed(subject) else plain.maker
    subject = replace(subject, maker=maker, around={**subject.around, "d_model": d, "context_length": t})
    host = Host.of(subject)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = host.build(length=t, vocab=v)
    part = holder(host, model)
    flops = flops_of(part, Work(t, causal=host.causal, memory=SOURCE if host.has_source else None))
    return sum(p.numel() for p in part.parameters()), flops.algorithm


def _needed(subject: Subject) -> bool:
    """Whether the part has options that must be given."""
    from components.core.signature import REQUIRED

    return any(o.default == REQUIRED for o in subject.signature.options.values())


def formula(
    count: Callable[[Sizes], Fraction], exponents: tuple[tuple[int, int, int], ...], what: str, vocabs: tuple[int, ...]
) -> str:
    """``4 d² + 2 d`` if a polynomial with these exponents fits everywhere, else the number at SHOWN."""
    points = [(d, t, v) for d, t, v in product(WIDTHS, LENGTHS, vocabs)]
    values = [count(p) for p in points]
    if not any(values):
        return ""
    coefficients = solve([[_term(p, e) for e in exponents] for p in points], values)
    if coefficients is not None and all(
        sum(c * _term(p, e) for c, e in zip(coefficients, exponents)) == count(p) for p in PROOF
    ):
        return _written(coefficients, exponents)
    d, t, v = SHOWN
    return f"{float(count(SHOWN)):,.0f} {what} at d = {d}, T = {t}, V = {v}"


def solve(rows: list[list[Fraction]], values: list[Fraction]) -> list[Fraction] | None:
    """Exact coefficients that solve every row, or None. Unknowns that the rows do not determine are 0."""
    table = [[*row, value] for row, value in zip(rows, values)]
    width = len(rows[0])
    pivots: list[int] = []
    for column in range(width):
        at = len(pivots)
        found = next((i for i in range(at, len(table)) if table[i][column]), None)
        if found is None:
            continue
        table[at], table[found] = table[found], table[at]
        table[at] = [x / table[at][column] for x in table[at]]
        for i, row in enumerate(table):
            if i != at and row[column]:
                table[i] = [a - row[column] * b for a, b in zip(row, table[at])]
        pivots.append(column)
    if any(row[-1] for row in table[len(pivots) :]):
        return None
    coefficients = [Fraction(0)] * width
    for row, column in zip(table, pivots):
        coefficients[column] = row[-1]
    return coefficients


def _term(sizes: Sizes, exponents: tuple[int, int, int]) -> Fraction:
    value = Fraction(1)
    for size, exponent in zip(sizes, exponents):
        value *= Fraction(size) ** exponent
    return value


def _written(coefficients: list[Fraction], exponents: tuple[tuple[int, int, int], ...]) -> str:
    terms = []
    order = sorted(zip(coefficients, exponents), key=lambda t: (-sum(t[1]), [-e for e in t[1]]))
    for coefficient, exponent in order:
        if coefficient:
            below = "".join(s for s, e in zip(SYMBOLS, exponent) if e < 0)
            factors = " ".join(s + ("²" if e == 2 else "") for s, e in zip(SYMBOLS, exponent) if e > 0)
            size = abs(coefficient)
            number = (
                f"{size.numerator:,}"
                if size.denominator == 1
                else f"{float(size):g}"
                if float(size) * 1000 % 1 == 0
                else str(size)
            )
            shown = factors if number == "1" and factors else f"{number} {factors}".strip()
            terms.append((" - " if coefficient < 0 else " + ") + shown + (f" / {below}" if below else ""))
    return "".join(terms).removeprefix(" + ").strip()
