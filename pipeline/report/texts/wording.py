"""The texts of the report in one language: texts from ``texts/``, and numbers, dates and plurals in its format."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date
from babel.numbers import format_decimal, format_percent

from features.events import EventType
from models.disclosure import describes_enough
from models.naming import category_in_languages
from pipeline.report.parts.segment import Segment
from pipeline.report.texts.formats import form_of, number
from pipeline.report.texts.languages import Text, read_texts

DAY_CHARS = 10
"""Length of a date without a time, such as 2025-11-01."""
SMALLEST_PERCENT = 0.005
"""A smaller gain or loss is 0%, without a sign."""
DATE_LOCALES = {"en": "en_GB"}
"""Language -> the locale of its dates, where it differs: English is British, as in 1 November 2025."""


def shown_name(name: str, *, is_stable: bool, language: str = "en") -> str:
    """The name of a segment, marked if the segment is unstable."""
    return name if is_stable else wording(language)("unstable", name=name)


@functools.cache
def wording(language: str, currency: str | None = None, timezone: str = "UTC") -> Wording:
    """The wording of a language, with amounts in a currency (ISO 4217) and dates in a time zone; read once."""
    return Wording(language, read_texts(language), currency, timezone)


class Wording:
    """Texts by key, such as ``words("days", count=3)``, and phrases composed of several texts."""

    def __init__(
        self, language: str, texts: Mapping[str, Text], currency: str | None = None, timezone: str = "UTC"
    ) -> None:
        self.language = language
        self.currency = currency
        self.timezone = timezone
        self.texts = texts
        self.date_locale = DATE_LOCALES.get(language, language)
        self.plural = Locale.parse(language).plural_form

    def __call__(self, key: str, **values: Any) -> str:
        """The text of ``key``; ``count`` selects the plural form and is formatted as a whole number."""
        text = self.texts[key]
        if isinstance(text, dict):
            text = text[self.plural(values["count"])]
        if isinstance(values.get("count"), int | float):
            values["count"] = self.whole(values["count"])
        return text.format(**values).replace("..", ".")  # a date may end with a full stop

    def whole(self, value: float) -> str:
        """A count."""
        return format_decimal(value, "#,##0.#", locale=self.language)

    def size(self, count: float, *, is_small: bool) -> str:
        """The published size of a group: of a small one, it is the step of rounding, which is more than its size."""
        return f"<{self.whole(count)}" if is_small else self.whole(count)

    def number(self, value: float | None, form: str = "number") -> str:
        """A figure in one of the forms number, share, money."""
        return number(value, form, self.language, self.currency)

    def signed(self, value: float | None, form: str = "share") -> str:
        """A gain or loss with its sign, as a whole percent or, in the form ``count``, as a number."""
        if value is None:
            return "–"
        if form == "count":
            return format_decimal(value, "+#,##0;-#,##0" if value else "0", locale=self.language)
        return format_percent(value, "+0%;-0%" if abs(value) >= SMALLEST_PERCENT else "0%", locale=self.language)

    def times(self, value: float | None) -> str:
        """A multiple, with one decimal."""
        return "" if value is None else format_decimal(value, "0.0" if value else "0", locale=self.language)

    def fixed(self, value: float, digits: str = "0.00") -> str:
        """A figure with two decimals, or with ``digits``."""
        return format_decimal(value, digits, locale=self.language)

    def places(self, value: float) -> str:
        """A figure with up to two decimals."""
        return format_decimal(value, "0.##", locale=self.language)

    def date(self, moment: str, form: str = "long") -> str:
        """The date of an ISO time (UTC) in the shop's time zone, or a plain date; form: long, medium or short."""
        return format_date(self._local_time(moment), form, locale=self.date_locale)

    def moment(self, moment: str, form: str = "long") -> str:
        """As `date`, with the time of day unless it is midnight in the shop's time zone."""
        local = self._local_time(moment)
        day = format_date(local, form, locale=self.date_locale)
        return day if local.time() == time() else f"{day}, {local:%H:%M}"

    def _local_time(self, moment: str) -> datetime:
        at = datetime.fromisoformat(moment.removesuffix(" UTC"))
        is_day = len(moment) <= DAY_CHARS
        return at if is_day else at.replace(tzinfo=at.tzinfo or UTC).astimezone(ZoneInfo(self.timezone))

    def name(self, segment: Segment) -> str:
        """The name of a segment in this language, marked if it is unstable."""
        return shown_name(segment.all_names.shown(self.language), is_stable=segment.is_stable, language=self.language)

    def facet(self, name: str) -> str:
        """The label of a facet; its own name where there is no text for it."""
        return self(f"facet.{name}") if f"facet.{name}" in self.texts else name

    def category(self, label: str) -> str:
        """The label of a category in this language."""
        return category_in_languages(label)[self.language]

    def categories(self, segment: Segment) -> str:
        """The distinctive interests of a segment, as a list in one text."""
        return "; ".join(self.category(interest.label) for interest in segment.top_categories)

    def group(self, value: str) -> str:
        """The label of a rule-based group; its own value where there is no text for it."""
        code = value.lower().replace(" ", "_")
        for key in (f"group.{code}", f"stage.{code}"):
            if key in self.texts:
                return self(key)
        return value

    def figure(self, name: str) -> str:
        """The label of a figure of `models.naming`; its name where there is no label."""
        if name.startswith("stage_"):
            return self("figure.stage_share", name=self(f"stage.{name.removeprefix('stage_').removesuffix('_share')}"))
        key = f"figure.{name}"
        return self(key) if key in self.texts else name.replace("_", " ")

    def event_list(self, event_types: Iterable[str]) -> str:
        """The types of events in a log, without those of unknown type."""
        return ", ".join(self(f"event.{kind}") for kind in event_types if kind != EventType.OTHER)

    def differing_figures(
        self, names: Iterable[str], own: Mapping[str, float], shop: Mapping[str, float], *, min_share: float
    ) -> list[tuple[str, str, str]]:
        """Name, value and overall value of the figures in which a segment differs, as texts.

        Figures whose texts are equal are left out. So are figures about a subgroup, such as customers with a cart, if
        fewer than ``min_share`` of the segment belong to it.
        """
        kept = [name for name in names if shop[name] and describes_enough(name, own, min_share)]
        rows = [(name, *(self.number(figures[name], form_of(name)) for figures in (own, shop))) for name in kept]
        return [(name, value, overall) for name, value, overall in rows if value != overall]

    def least(self, min_events: int, min_orders: int | None) -> str:
        """What a customer needs to be clustered: orders if a number of them is set, otherwise events."""
        return self("count.order", count=min_orders) if min_orders else self("count.event", count=min_events)

    def listed(self, names: Sequence[str]) -> str:
        """Names as a list in one text."""
        return "; ".join(names) or self("none")
