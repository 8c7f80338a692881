"""RFM: scores of recency, frequency and money, and the groups that they define."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from features.value import MONEY_COLUMNS, ValueCuts


def divide_ties(values: Sequence[float], counts: Sequence[int], *, groups: int) -> tuple[float, ...]:
    """Cut points between groups of equal size as far as ties allow, none of them twice.

    A value that fills several groups is one group, the lowest, and the buyers above it are divided among the remaining
    ones. So a score is never skipped: of many buyers with one order, those with two are the next group, not the best.

    >>> divide_ties([1, 2, 4, 6, 9], [510, 60, 8, 14, 8], groups=5)
    (1.0, 2.0, 4.0, 6.0)
    >>> divide_ties([1, 2], [90, 10], groups=5)
    (1.0,)
    >>> divide_ties([1], [100], groups=5)  # all have the lowest score
    (1.0,)

    Parameters
    ----------
    values, counts : sequences of equal length
        The distinct values, ascending, and the number of buyers with each.
    groups : int
        Number of scores.
    """
    cuts: list[float] = []
    remaining, position = sum(counts), 0
    for groups_left in range(groups, 1, -1):
        if position >= len(values) - 1:  # nobody is above the last value
            break
        size, taken = remaining / groups_left, 0
        while position < len(values) - 1 and taken < size:
            taken += counts[position]
            position += 1
        cuts.append(float(values[position - 1]))
        remaining -= taken
    return tuple(cuts) or (float(values[-1]),)


def score(measure: ir.FloatingValue, cuts: Sequence[float], *, low_is_good: bool = False) -> ir.IntegerValue:
    """Score from 1 to len(cuts) + 1, the best highest; null stays null."""
    above = measure.isnull().ifelse(ibis.null("int64"), 1)
    for cut in cuts:
        bound = ibis.literal(float(cut)).cast("float64")
        above = above + (measure <= bound if low_is_good else measure > bound).cast("int64")
    return above


@dataclass(frozen=True)
class RFMGroup:
    """An RFM group: its lowest and highest scores and its maximum number of orders, or its days without activity."""

    name: str
    recency: tuple[int, int] = (1, 10)
    frequency: tuple[int, int] = (1, 10)
    money: tuple[int, int] = (1, 10)
    max_orders: float | None = None
    min_silent_days: float | None = None

    def matches(self, scored: ir.Table, *, history_days: float, has_prices: bool = True) -> ir.BooleanValue:
        """Whether customers belong to the group by their scores, or with ``min_silent_days`` by their inactivity.

        Without prices, the monetary score is ignored.

        scored (order_count, event_count, days_since_last_event, is_known_from_before, is_buyer_from_before,
                recency_score, frequency_score, monetary_score)
        """
        if self.min_silent_days is not None:
            is_gone = (scored.event_count == 0) & scored.is_known_from_before & (history_days >= self.min_silent_days)
            return is_gone | (scored.days_since_last_event >= self.min_silent_days).fill_null(False)
        has_bought = scored.days_since_last_purchase.notnull()
        inside = has_bought & (
            scored.recency_score.between(*self.recency)
            & scored.frequency_score.between(*self.frequency)
            & (scored.monetary_score.between(*self.money) if has_prices else True)
        )
        if self.max_orders is None:
            return inside
        # Orders before the window are not counted; a buyer from before had at least one.
        orders = scored.order_count + scored.is_buyer_from_before.cast("float64")
        return inside & (orders <= self.max_orders)


def with_rfm(
    customers: ir.Table, *, cuts: ValueCuts, groups: Sequence[RFMGroup], history_days: float, money: str = "spend"
) -> ir.Table:
    """RFM scores (1 to 5 with four cuts) and RFM group: the first of ``groups`` that matches.

        customers (..., days_since_last_purchase, order_count, net_spend, average_order_value, event_count,
                   days_since_last_event, is_known_from_before, is_buyer_from_before)
     -> customers (..., recency_score, frequency_score, monetary_score, rfm_group)

    Scores are null for customers without a purchase in the window. So is the group, except for customers inactive for
    ``min_silent_days``. Without buyers at training the group is null for all, since there is nothing to compare with.
    If no purchase had a price at training, the monetary score is null and groups use the other two.

    Parameters
    ----------
    history_days : float
        Length of the window: customers seen before it but not in it have been inactive for at least that long.
    """
    has_bought = customers.days_since_last_purchase.notnull()
    scored = customers.mutate(
        recency_score=score(customers.days_since_last_purchase, cuts.days_since_last_purchase, low_is_good=True),
        frequency_score=score(has_bought.ifelse(customers.order_count, ibis.null("float64")), cuts.order_count),
        monetary_score=score(has_bought.ifelse(customers[MONEY_COLUMNS[money]], ibis.null("float64")), cuts.money)
        if cuts.money
        else ibis.null("int64"),
    )
    if not cuts.order_count:
        return scored.mutate(rfm_group=ibis.null("string"))
    has_prices = bool(cuts.money)
    cases = [(group.matches(scored, history_days=history_days, has_prices=has_prices), group.name) for group in groups]
    return scored.mutate(rfm_group=ibis.cases(*cases, else_=ibis.null("string")))
