"""Dates as they are written in two languages: pairs without limit, each with exactly one right answer; needs the package babel."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, Literal

from components.core.errors import UserError, nearest
from components.core.extras import lacking
from components.core.registry import register
from components.core.signature import Positive
from components.corpus.example import Example
from components.corpus.store import key_of

FORMS = ("medium", "long", "full")  # not "short": 2/9/74 may be two days


@register("data", "babel_dates")
class BabelDates:
    """Dates in two languages, ``Feb 9, 1974`` and ``9 février 1974``: pairs drawn by a seed, each day once.

    The question is written in one of three forms (Feb 9, 1974; February 9, 1974; Saturday, February 9, 1974), the answer in one: in full.
    As no day comes twice, the days of the validation split were never seen in training. Strings are those of the installed version
    of babel, which the report names.

    Args:
        source: the locale of the question, such as ``en`` or ``de_AT``.
        target: the locale of the answer, such as ``fr`` or ``zh``.
        count: how many days.
        first_year: the earliest.
        last_year: the latest.
        weekday: whether the answer names the day of the week: where the question does (kept), never, or always, for which the
            network has to know the calendar.
        seed: of the draw.
    """

    provides = ("pairs",)

    def __init__(
        self,
        *,
        source: str = "en",
        target: str = "fr",
        count: Positive = 10_000,
        first_year: Positive = 1950,
        last_year: Positive = 2049,
        weekday: Literal["kept", "never", "always"] = "kept",
        seed: int = 0,
    ) -> None:
        if not first_year <= last_year <= 9999:
            raise ValueError(f"first_year={first_year} and last_year={last_year}: the years go up, to 9999 at most")
        self.first = date(first_year, 1, 1)
        self.days = (date(last_year, 12, 31) - self.first).days + 1
        if count > self.days:
            raise ValueError(f"count={count} is more than the {self.days} days from {first_year} to {last_year}")
        self.babel = _babel()
        self.source, self.target = _known(self.babel, "source", source), _known(self.babel, "target", target)
        self.count, self.weekday, self.seed = count, weekday, seed
        self.notes = [f"dates in {source} and {target} as babel {self.babel.__version__} writes them"]

    def fingerprint(self) -> str:
        held = [self.source, self.target, self.count, str(self.first), self.days, self.weekday, self.seed]
        return key_of("babel_dates", self.babel.__version__, *held)

    def examples(self) -> Iterator[Example]:
        from babel.dates import format_date

        rng = random.Random(self.seed)
        for i, day in enumerate(rng.sample(range(self.days), self.count), 1):
            when, form = self.first + timedelta(day), FORMS[int(rng.random() * len(FORMS))]
            named = self.weekday == "always" or (self.weekday == "kept" and form == "full")
            asked = format_date(when, form, locale=self.source)
            yield Example(asked, format_date(when, "full" if named else "long", locale=self.target), "babel_dates", i)


def _babel() -> Any:
    try:
        import babel
    except ImportError:
        raise lacking("data", "babel_dates needs the package babel", "babel") from None
    return babel


def _known(babel: Any, option: str, name: str) -> str:
    """The locale's name, if babel has it. UserError with the nearest else."""
    from babel.localedata import locale_identifiers

    try:
        return str(babel.Locale.parse(name))
    except (ValueError, babel.UnknownLocaleError):
        names = locale_identifiers()
        near = [n for n in names if n.split("_")[0] == name.split("_")[0].lower()] or [
            "en",
            "fr",
            "de",
            "es",
            "zh",
            "ja",
            "ru",
            "ar",
        ]
        raise UserError(
            f"data.{option}", f"babel has no locale {name!r}", nearest(name, near[:12], called="some of its locales")
        ) from None
