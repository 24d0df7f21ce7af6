"""``components.check("norm/mine")``: the battery from Python, with what it found as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from components.check.cases import Verdict, battery, judged
from components.check.host import ON_PATH, Host
from components.check.subject import subject_of
from components.core import html, layout
from components.core.errors import UserError
from components.training.unchecked import remember


@dataclass(frozen=True)
class Report:
    """What the battery found of one part.

    Args:
        part: its label, and the model around it where there is one.
        verdicts: a property each: ``name``, ``holds`` and ``text``.
    """

    part: str
    verdicts: tuple[Verdict, ...]

    @property
    def holds(self) -> bool:
        """Whether every property does."""
        return not self.failed

    @property
    def failed(self) -> list[Verdict]:
        return [v for v in self.verdicts if not v.holds]

    def __repr__(self) -> str:
        rows = [("holds" if v.holds else "FAILS", v.name, v.text) for v in self.verdicts]
        return "\n".join([self.part, *layout.table(rows, limit=60), self._sum()])

    def _repr_html_(self) -> str:
        rows = [("holds" if v.holds else "FAILS", v.name, v.text) for v in self.verdicts]
        return html.table(rows, title=f"{self.part}: {self._sum()}")

    def _sum(self) -> str:
        count = len(self.verdicts)
        if count == 1:
            return f"1 property, which {'holds' if self.holds else 'does not hold'}"
        return f"{count} properties, all hold" if self.holds else f"{len(self.failed)} of {count} properties do not hold"


def check(
    what: str | type, options: Iterable[str] | Mapping[str, object] = (), *, kind: str | None = None, only: str | None = None
) -> Report:
    """Try the contract of its kind on a part, property by property: one of ours, a plug-in's, or one that was registered a cell ago.

    Args:
        what: ``kind/name``, ``package.module:Class``, or a class.
        options: the part's, {name: value} or ``name=value`` words; ``model.NAME`` goes to the model around it.
        kind: of a class that is not registered.
        only: words of the names of the properties to try; without it all.

    Raises:
        UserError: there is no such part or option, or no property that fits.
    """
    subject = subject_of(what, options, kind=kind)
    whole = battery(subject)
    cases = [c for c in whole if only is None or only in c.name]
    if not cases:
        raise UserError(
            subject.label, f"no property has {only!r} in its name" if only else "no property applies to it as it stands"
        )
    on_path = subject.kind in ON_PATH
    report = Report(f"{subject.label} {Host.of(subject)}" if on_path else subject.label, tuple(judged(cases)))
    if cases == whole and report.holds:
        remember(subject.label, subject.target)
    return report
