"""Sections of params.yaml for computing profiles: types and bounds."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from features.calendar import check_spans
from features.events import EventType
from features.rfm import RFMGroup
from pipeline.config.types import Count, NonNegative, Positive, Section, Share, Weight


class SessionsParams(Section):
    """Visits."""

    gap_minutes: Positive


class SearchesParams(Section):
    """How P(category | query) is learned."""

    window_minutes: Positive
    min_customers: Count
    prior_searches: NonNegative
    min_probability: Share
    outcome_weights: dict[EventType, Weight]
    half_life_minutes: Positive
    min_confidence: Share


class DecayParams(Section):
    """Weights of events, and how fast they decay."""

    half_life_days: Positive
    signal_weights: dict[EventType, Weight]


class InterestsParams(DecayParams):
    """The interest formula."""

    kappa: Positive
    max_categories: Annotated[int, Field(ge=2, le=500)]
    activity: DecayParams
    fit: Literal["auto", "off"]
    fit_min_purchases: Count
    fit_prior_strength: NonNegative

    @field_validator("fit", mode="before")
    @classmethod
    def _off_as_text(cls, value: object) -> object:
        """YAML reads off as false."""
        return "off" if value is False else value


class BacktestParams(Section):
    """Earlier cutoffs to predict from."""

    horizon_days: Annotated[int, Field(ge=1)]
    cutoffs: Annotated[int, Field(ge=1, le=24)]
    sample_customers: Count
    min_buyers: Count
    bootstrap_resamples: Count


Scores = tuple[Annotated[int, Field(ge=1, le=10)], Annotated[int, Field(ge=1, le=10)]]


class RFMGroupParams(Section):
    """An RFM group: ranges of scores, lowest and highest."""

    group: str
    recency: Scores = (1, 10)
    frequency: Scores = (1, 10)
    money: Scores = (1, 10)
    max_orders: Count | None = None
    min_silent_days: Positive | None = None


class RFMCuts(Section):
    """Ascending bounds between scores; one fewer than there are quantiles."""

    days_since_last_purchase: list[NonNegative]
    order_count: list[NonNegative]
    money: list[NonNegative]


class ValueParams(Section):
    """RFM and value tiers."""

    rfm_quantiles: Annotated[int, Field(ge=4, le=10)]  # the groups need two high and two low scores
    rfm_cuts: RFMCuts | None
    rfm_money: Literal["spend", "average_order_value"]
    rfm_form: str
    rfm_forms: dict[str, list[RFMGroupParams]]
    tier_by: Literal["spend", "order_count"]
    tier_days: Positive | None
    vip_quantile: Share
    regular_quantile: Share
    near_tier: Share
    difficult_return_rate: Share
    difficult_min_returns: Count
    difficult_contact_rate: Positive
    difficult_min_contacts: Count

    @model_validator(mode="after")
    def _in_order(self) -> ValueParams:
        if self.regular_quantile > self.vip_quantile:
            raise ValueError("expected regular_quantile <= vip_quantile")
        return self

    @model_validator(mode="after")
    def _form_covers_all_buyers(self) -> ValueParams:
        if self.rfm_form not in self.rfm_forms:
            raise ValueError(f"rfm_form: expected one of rfm_forms: {', '.join(self.rfm_forms)}")
        for name, cuts in (self.rfm_cuts.model_dump() if self.rfm_cuts else {}).items():
            if cuts != sorted(cuts) or len(cuts) != self.rfm_quantiles - 1:
                raise ValueError(f"rfm_cuts.{name}: expected {self.rfm_quantiles - 1} ascending cuts")
        scores = range(1, self.rfm_quantiles + 1)
        for recency, frequency, money in itertools.product(scores, scores, scores):
            if not any(
                group.max_orders is None
                and group.min_silent_days is None
                and all(
                    low <= score <= high
                    for score, (low, high) in zip(
                        (recency, frequency, money), (group.recency, group.frequency, group.money), strict=True
                    )
                )
                for group in self.rfm_forms[self.rfm_form]
            ):
                raise ValueError(
                    f"rfm_forms.{self.rfm_form}: expected a group for every customer; none matches recency {recency}, "
                    f"frequency {frequency}, money {money}"
                )
        return self

    def rfm_groups(self) -> list[RFMGroup]:
        """The groups of ``rfm_form``, in order."""
        return [
            RFMGroup(group.group, group.recency, group.frequency, group.money, group.max_orders, group.min_silent_days)
            for group in self.rfm_forms[self.rfm_form]
        ]

    def tier_measure(self, *, has_prices: bool) -> str:
        """The measure of value tiers: orders if there are no prices, as every customer's spend would be 0."""
        return self.tier_by if has_prices else "order_count"

    def fixed_cuts(self, *, is_known: bool) -> dict[str, list[float]]:
        """Cuts to use instead of quantiles; none if nobody has bought."""
        return self.rfm_cuts.model_dump() if self.rfm_cuts and is_known else {}


class JourneyEventsParams(Section):
    """For how many days each journey event is reported."""

    visit_days: Positive
    second_order_days: Positive
    cart_days: Positive
    contact_days: Positive


class JourneyParams(Section):
    """Lifecycle, journey events and temperature."""

    first_order_days: Positive
    active_days: Positive
    lapsed_days: Positive
    lost_days: Positive
    slipping_min_orders: Annotated[int, Field(ge=2)]
    slipping_intervals: Annotated[float, Field(ge=1)]
    slipping_min_days: NonNegative
    events: JourneyEventsParams
    temperature_half_life_days: Positive
    temperature_points: dict[EventType, NonNegative]
    warm_points: Positive
    hot_points: Positive
    searched_points: NonNegative
    hot_product_points: Positive

    @model_validator(mode="after")
    def _in_order(self) -> JourneyParams:
        if not self.active_days < self.lapsed_days < self.lost_days:
            raise ValueError("expected active_days < lapsed_days < lost_days")
        if self.warm_points > self.hot_points:
            raise ValueError("expected warm_points <= hot_points")
        return self


def _readable_spans(texts: list[str]) -> list[str]:
    check_spans(texts)
    return texts


Spans = Annotated[list[str], AfterValidator(_readable_spans)]


class Country(Section):
    """Days of a country with a reason to shop."""

    holiday: Spans
    gift: Spans
    paydays: list[Annotated[int, Field(ge=1, le=31)]]


class CalendarParams(Section):
    """Countries and the one that applies."""

    country: str | None
    payday_days: Annotated[int, Field(ge=1, le=14)]
    countries: dict[str, Country]

    @model_validator(mode="after")
    def _country_is_known(self) -> CalendarParams:
        if self.country is not None and self.country not in self.countries:
            raise ValueError(f"country: expected null or one of calendar.countries: {', '.join(self.countries)}")
        return self

    def country_days(self) -> dict[str, Any]:
        """Arguments of `features.calendar.occasion_shares`; without a country, there are no such days."""
        chosen = self.countries[self.country] if self.country else Country(holiday=[], gift=[], paydays=[])
        return {
            "days": {"holiday": chosen.holiday, "gift": chosen.gift},
            "paydays": chosen.paydays,
            "payday_days": self.payday_days,
        }
