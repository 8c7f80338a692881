"""The texts of the report in a language: words of ``texts/``, numbers, dates and plurals in the language's form."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from babel import Locale
from babel.dates import format_date
from babel.numbers import format_currency, format_decimal, format_percent

from features.context import CHANNEL_PREFIX
from features.events import EventType
from features.interests import SHARE_PREFIX
from features.journey import PASSING_STAGES
from models.identity import STANDING
from models.naming import SHARE_OF, category_in_languages
from pipeline.report.texts.languages import Text, read_texts

MONEY = {"average_order_value", "spend_per_customer", "paid_per_customer"}
"""Figures that are told as money; those that end as below are shares, the others plain numbers."""
SHARES = ("_share", "return_rate")
BOUNDS = {
    "days_since_last_purchase": "bought",
    "days_since_last_event": "seen",
    "days_from_first_to_last_event": "span",
    "spend": "spend",
}
"""Column of a rule -> the key of its phrase, less ``_above`` or ``_below``."""
DAY_CHARS = 10
"""Of a day without an hour, as in 2025-11-01."""
DATE_LOCALES = {"en": "en_GB"}
"""Of a language whose dates are not those of its own locale: 1 November 2025, as the spelling is British."""
ALL_STAY = 0.995
"""From this share on, read as all of them, it is not said of a stage that customers pass through it."""
FORETOLD = ("buys_auc", "spend_r2", "category_auc")


def number(value: float | None, form: str = "number", language: str = "en", currency: str | None = None) -> str:
    """A figure as people read it, money with its currency where that is known; a dash where there is none."""
    if value is None or np.isnan(value):
        return "–"
    if form == "share":
        if 0 < value < 0.0005:
            return "<" + format_percent(0.001, "0.0%", locale=language)
        return format_percent(value, "0%" if value == 0 or value >= 0.0995 else "0.0%", locale=language)
    if form == "money":
        digits = "#,##0" if abs(value) >= 100 or value == 0 else "#,##0.00"
        if currency is None:
            return format_decimal(value, digits, locale=language)
        pattern = Locale.parse(language).currency_formats["standard"].pattern.replace("#,##0.00", digits)
        return format_currency(value, currency, pattern, locale=language, currency_digits=False)
    return format_decimal(value, "#,##0" if abs(value) >= 20 or value == 0 else "#,##0.0", locale=language)


def form_of(figure: str) -> str:
    """How the number of a figure is written: share, money, number."""
    return "share" if figure.endswith(SHARES) else "money" if figure in MONEY else "number"


def shown_name(segment: Mapping[str, Any], language: str | None = None) -> str:
    """The name, and that the segment is unstable where it is."""
    name = segment["names"][language] if language else segment["name"]
    return str(name) if segment["is_stable"] else wording(language or "en")("unstable", name=name)


def proposed_name(segment: Mapping[str, Any], language: str) -> str | None:
    """The name that `naming.proposer` proposes; None where there is none, it is so called, or a person named it."""
    proposed = (segment.get("proposed_names") or {}).get(language)
    is_by_hand = proposed is not None and segment["names"] != segment["names_by_figures"]
    return None if is_by_hand or proposed == segment["names"][language] else proposed


def is_by_interest(segment: Mapping[str, Any]) -> bool:
    """Whether a segment is named by what its customers like, as its evidence shows."""
    return any("first_share" in one for one in segment["evidence"])


@functools.cache
def wording(language: str, currency: str | None = None, timezone: str = "UTC") -> Wording:
    """The wording of a language, with amounts in a currency (ISO 4217) and days of a time zone, read once."""
    return Wording(language, read_texts(language), currency, timezone)


class Wording:
    """Texts by key, ``words("days", count=3)``, and the phrases that are made of several."""

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
        """The text of ``key``; ``count`` chooses the plural form, and is written as a whole number."""
        text = self.texts[key]
        if isinstance(text, dict):
            text = text[self.plural(values["count"])]
        if isinstance(values.get("count"), int | float):
            values["count"] = self.whole(values["count"])
        return text.format(**values).replace("..", ".")  # after a date that ends with a point

    def whole(self, value: float) -> str:
        """A count."""
        return format_decimal(value, "#,##0.#", locale=self.language)

    def number(self, value: float | None, form: str = "number") -> str:
        """A figure in one of the forms number, share, money."""
        return number(value, form, self.language, self.currency)

    def times(self, value: float | None) -> str:
        """A multiple, with one digit."""
        return "" if value is None else format_decimal(value, "0.0" if value else "0", locale=self.language)

    def fixed(self, value: float) -> str:
        """A figure with two digits after the point."""
        return format_decimal(value, "0.00", locale=self.language)

    def places(self, value: float) -> str:
        """A figure with up to two digits after the point."""
        return format_decimal(value, "0.##", locale=self.language)

    def date(self, moment: str, form: str = "long") -> str:
        """The day, where the shop is, of an ISO moment in UTC; of a day alone, itself; form: long, medium, short."""
        return format_date(self._there(moment), form, locale=self.date_locale)

    def moment(self, moment: str, form: str = "long") -> str:
        """The same of an as_of, with the hour where it is not midnight there: a day of UTC may begin in the evening."""
        at = self._there(moment)
        day = format_date(at, form, locale=self.date_locale)
        return day if at.time() == time() else f"{day}, {at:%H:%M}"

    def _there(self, moment: str) -> datetime:
        at = datetime.fromisoformat(moment.removesuffix(" UTC"))
        is_day = len(moment) <= DAY_CHARS
        return at if is_day else at.replace(tzinfo=at.tzinfo or UTC).astimezone(ZoneInfo(self.timezone))

    def name(self, segment: Mapping[str, Any]) -> str:
        """What a segment is called."""
        return shown_name(segment, self.language)

    def category(self, label: str) -> str:
        """A category as the tables call it."""
        return category_in_languages(label)[self.language]

    def categories(self, segment: Mapping[str, Any]) -> str:
        """The distinctive interests of a segment, one after another."""
        return "; ".join(self.category(one["label"]) for one in segment["top_categories"])

    def group(self, value: str) -> str:
        """A group of a segmentation by rule; as it stands where it has no text."""
        code = value.lower().replace(" ", "_")
        for key in (f"group.{code}", f"stage.{code}"):
            if key in self.texts:
                return self(key)
        return value

    def figure(self, name: str) -> str:
        """The label of a figure of `models.naming`; its name where it has none."""
        if name.startswith("stage_"):
            return self("figure.stage_share", name=self(f"stage.{name.removeprefix('stage_').removesuffix('_share')}"))
        key = f"figure.{name}"
        return self(key) if key in self.texts else name.replace("_", " ")

    def deeds(self, event_types: Iterable[str]) -> str:
        """What a log holds, but for what is of no known type."""
        return ", ".join(self(f"event.{kind}") for kind in event_types if kind != EventType.OTHER)

    def beside(
        self, names: Iterable[str], own: Mapping[str, float], shop: Mapping[str, float], *, min_share: float
    ) -> list[tuple[str, str, str]]:
        """Figures of a segment beside the shop's, as texts; those that read as the shop's left out.

        So are those of some customers alone, such as who had a cart, where these are less than ``min_share`` of it.
        """
        kept = [name for name in names if shop[name] and own.get(SHARE_OF.get(name, ""), 1.0) >= min_share]
        told = [(name, *(self.number(one[name], form_of(name)) for one in (own, shop))) for name in kept]
        return [(name, value, of_shop) for name, value, of_shop in told if value != of_shop]

    def proofs(self, evidence: Sequence[Mapping[str, Any]], *, is_of_others: bool = False) -> list[str]:
        """The figures that carry the name of a segment, but for those that read as everybody's.

        ``is_of_others``: they are beside those of the customers told apart by behaviour, of whom the segment is none.
        """
        if evidence and "first_share" in evidence[0]:
            return [self._liked(one) for one in evidence]
        others = self("the_told_apart" if is_of_others else "the_clustered")
        told = [one for one in map(self._proof, evidence) if one["value"] != one["shop"] or "like" in one]
        texts = [self("cards.proof_like" if "like" in one else "cards.proof", others=others, **one) for one in told]
        return [
            self("cards.proof_held", proof=text, share=one["held"]) if "held" in one else text
            for text, one in zip(texts, told, strict=True)
        ]

    def _proof(self, evidence: Mapping[str, Any]) -> dict[str, str]:
        """A figure beside that of all, as texts."""
        figure = str(evidence["figure"])
        label, form = self.figure(figure), form_of(figure)
        if figure.startswith(SHARE_PREFIX):
            label, form = self("cards.proof_interest", name=self.category(figure.removeprefix(SHARE_PREFIX))), "share"
        names = {"value": "value", "shop": "shop", "like": "nearest_like"}
        told = {ours: self.number(evidence[name], form) for ours, name in names.items() if name in evidence}
        if "held_share" in evidence:
            told["held"] = self.number(evidence["held_share"], "share")
        return {"label": label, **told}

    def _liked(self, evidence: Mapping[str, Any]) -> str:
        """A category that a segment by interests is named by."""
        shares = {name: self.number(evidence[name], "share") for name in ("value", "shop", "first_share")}
        name = self.category(str(evidence["figure"]).removeprefix(SHARE_PREFIX))
        return self("facets.proof", name=name, share=shares["value"], shop=shares["shop"], first=shares["first_share"])

    def interest(self, interest: Mapping[str, Any]) -> str:
        """A distinctive interest."""
        return self(
            "cards.interest",
            label=self.category(interest["label"]),
            share=self.number(interest["share"], "share"),
            lift=self.times(interest["lift"]),
            low=self.times(interest["lift_low"]),
            customers=self("customers", count=interest["customer_count"]),
        )

    def stability(self, segment: Mapping[str, Any]) -> str:
        """How surely a segment comes back; empty where that is not known."""
        if segment["stability"] is None:
            return ""
        word = self(f"stability.{segment['stability_word']}")
        told = self("cards.stability", word=word, share=self.number(segment["stability"], "share"))
        return told if segment["is_stable"] else f"{told} {self('cards.no_campaign')}"

    def staying(self, segment: Mapping[str, Any]) -> str:
        """How many of those who were in a segment are in it still; empty where not known, or none left."""
        told = segment.get("staying")  # which trainings of before have not
        if told is None:
            return ""
        days, share = self("days", count=told["days"]), self.number(told["share"], "share")
        is_passing = segment["segment_id"].removeprefix(STANDING) in PASSING_STAGES
        if is_passing and told["share"] >= ALL_STAY:
            return ""
        said = self("cards.staying_passing" if is_passing else "cards.staying", days=days, share=share)
        return f"{said} {self('cards.staying_sample')}" if told.get("is_sample") else said

    def rule(self, rule: Mapping[str, Any] | None) -> str:
        """A segment's rule as sentences, with whom it holds for."""
        if rule is None:
            return self("rule.none")
        told = self.conditions(rule)
        told = told[0].upper() + told[1:]
        if rule["precision"] == rule["coverage"] == 1:
            return self("rule.exact", rule=told)
        shares = {name: self.number(rule[name], "share") for name in ("precision", "coverage")}
        return self("rule.holds", rule=told, **shares)

    def conditions(self, rule: Mapping[str, Any]) -> str:
        """The conditions of a rule, in one phrase."""
        if "min_evidence" in rule:
            return self("rule.unknown", events=self("count.event", count=rule["min_events"]))
        if "stage" in rule:
            key = "rule.standing_noise" if rule["with_noise"] else "rule.standing"
            events = self("count.event", count=rule["min_events"])
            return self(key, events=events, stage=self(f"stage.{rule['stage']}"))
        return self("rule.and").join(map(self._condition, rule["conditions"]))

    def _condition(self, one: Mapping[str, Any]) -> str:
        column, bound, side = one["column"], one["bound"], "above" if one["is_above"] else "below"
        if column in BOUNDS:
            return self(f"rule.{BOUNDS[column]}_{side}", **{"bound": self.number(bound, "money"), "count": bound})
        if column.endswith("_count"):
            return self._count(column.removesuffix("_count"), bound + one["is_above"], is_above=one["is_above"])
        form = "share" if one["is_share"] else "number"
        if column.startswith(SHARE_PREFIX):
            what = self("rule.interest", name=self.category(one["label"]))
        elif column.startswith(CHANNEL_PREFIX):
            what = self("rule.channel", name=column.removeprefix(CHANNEL_PREFIX))
        elif f"rule.{column}" in self.texts:
            what = self(f"rule.{column}")
        else:
            what = self(f"rule.other_{form}", name=column.replace("_", " "))
        told = (
            self.number(bound, "share") if form == "share" else format_decimal(bound, "#,##0.##", locale=self.language)
        )
        return self(f"rule.{form}_{side}", bound=told, what=what)

    def _count(self, kind: str, count: float, *, is_above: bool) -> str:
        if not count and f"without.{kind}" in self.texts:
            return self(f"without.{kind}")
        known = f"count.{kind}" in self.texts
        what = self(f"count.{kind}", count=count) if known else self("count.other", count=count, name=kind)
        return self("rule.at_least" if is_above else "rule.at_most", what=what)

    def change(self, cell: Mapping[str, Any] | None) -> str:
        """What became of a segment in one training."""
        if cell is None:
            return ""
        names, is_here = ", ".join(cell["akin"]), cell["is_here"]
        if cell["verdict"] == "survived":
            same = self("changes.same", value=format_decimal(cell["jaccard"], "0.00", locale=self.language))
            in_languages = cell.get("was_names")
            was = cell.get("was") if in_languages is None else in_languages.get(self.language)
            return self("changes.renamed", same=same, name=was) if was else same
        keys = {"split": ("split", "part_of"), "merged": ("merged", "holds"), "new": ("new", "new")}
        key = keys.get(cell["verdict"], ("gone", "gone"))[is_here]
        return self(f"changes.{key}", names=names)

    def foretold(self, validity: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """What segments foretold: a text, and a table with intervals; None where nothing was measured."""
        if validity is None or not validity["rows"]["segments"]:
            return None
        shown = [name for name in FORETOLD if name in validity["rows"]["segments"]]

        def figure(one: Mapping[str, float] | None) -> str:
            told = (
                [format_decimal(one[name], "0.000", locale=self.language) for name in ("mean", "low", "high")]
                if one
                else []
            )
            return "{} ({}–{})".format(*told) if told else "–"

        # One facet alone is what all of them are together.
        alone = validity["facets"] if len(validity["facets"]) == 1 else ()
        rows = [
            (self._way(name, validity), [figure(row.get(one)) for one in shown])
            for name, row in validity["rows"].items()
            if name not in alone
        ]
        rows.append((self("foretold.kept"), [self.number(validity["kept"].get(one), "share") for one in shown]))
        text = self(
            "foretold.intro",
            date=self.moment(validity["cutoff"]),
            days=self("days", count=validity["horizon_days"]),
            customers=self.whole(validity["customer_count"]),
            bought=self.whole(validity["buyer_count"]),
            groups=self.whole(validity["group_count"]),
        )
        return {"text": text, "head": [self(f"foretold.{name}") for name in shown], "rows": rows}

    def _way(self, name: str, validity: Mapping[str, Any]) -> str:
        """A way to group customers that the future was predicted by; a facet of another name bears its own."""
        key = "foretold.together" if name == "segments" and len(validity["facets"]) > 1 else f"foretold.{name}"
        return self(key) if key in self.texts else name

    def listed(self, names: Sequence[str]) -> str:
        """Names one after another."""
        return "; ".join(names) or self("nobody")
