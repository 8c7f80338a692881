"""The event contract: the columns of an event, their types, and the observation window.

One row is one action of a customer. All modules of `features` take tables of this form and return tables.
Events at or after ``as_of`` do not exist; `ObservationWindow.of` is the one place that enforces it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

SECONDS_PER_DAY = 86_400.0


class EventType(StrEnum):
    """Type of an action."""

    VIEW = "view"
    SEARCH = "search"
    FAVOURITE = "favourite"
    CART = "cart"
    REMOVE_FROM_CART = "remove_from_cart"
    PURCHASE = "purchase"
    RETURN = "return"
    CONTACT = "contact"
    EMAIL_OPEN = "email_open"
    EMAIL_CLICK = "email_click"
    REDEMPTION = "redemption"
    OTHER = "other"


WITHOUT_PRODUCT = (
    EventType.SEARCH,
    EventType.CONTACT,
    EventType.EMAIL_OPEN,
    EventType.EMAIL_CLICK,
    EventType.REDEMPTION,
    EventType.OTHER,
)
"""Event types that need no product_id."""

EVENT_SCHEMA = ibis.schema(
    {
        "customer_id": "!string",
        "occurred_at": "!timestamp(6)",  # UTC
        "event_type": "!string",
        "product_id": "string",
        "query": "string",
        "quantity": "!float64",
        "unit_price": "float64",
        "discount": "float64",
        "order_id": "string",
        "session_id": "string",
        "channel": "string",
        "category_path": "string",
    }
)
"""Columns of checked events. ``occurred_at`` is UTC without a zone; ``category_path`` is the event's own, if any."""


@dataclass(frozen=True)
class ObservationWindow:
    """The observed period: the ``history_days`` before ``as_of``, which is excluded.

    Parameters
    ----------
    as_of : datetime with a time zone
        End of the window; excluded.
    history_days : float, > 0
        Length of the window, in days.
    """

    as_of: datetime
    history_days: float

    def __post_init__(self) -> None:
        if self.as_of.tzinfo is None:
            raise ValueError(f"as_of must carry a time zone, such as 2025-11-01T00:00:00Z. Got {self.as_of}.")

    @property
    def end(self) -> datetime:
        """``as_of`` in UTC without a zone, as event times are."""
        return self.as_of.astimezone(UTC).replace(tzinfo=None)

    @property
    def start(self) -> datetime:
        """Start of the window, included, in UTC without a zone."""
        return self.end - timedelta(days=self.history_days)

    def of(self, events: ir.Table) -> ir.Table:
        """Events within the window: same columns, fewer rows."""
        return events.filter(events.occurred_at >= self.start, events.occurred_at < self.end)

    def age_days(self, moment: ir.TimestampValue) -> ir.FloatingValue:
        """Days from ``moment`` to ``as_of``, as float64; positive for past events."""
        end_seconds = (self.end - datetime(1970, 1, 1)).total_seconds()
        seconds = ibis.literal(end_seconds).cast("float64") - epoch_seconds(moment)
        return seconds / ibis.literal(SECONDS_PER_DAY).cast("float64")


def epoch_seconds(moment: ir.TimestampValue) -> ir.FloatingValue:
    """Seconds since 1970-01-01, as float64 with the fraction the engine keeps in whole microseconds."""
    return moment.epoch_seconds().cast("float64")


def type_weight(events: ir.Table, weights: Mapping[EventType, float]) -> ir.FloatingValue:
    """Weight of each event's type, as float64; 0 for a type without a weight."""
    cases = [(str(kind), ibis.literal(float(weight)).cast("float64")) for kind, weight in weights.items()]
    return events.event_type.cases(*cases, else_=ibis.literal(0.0).cast("float64"))


def has_type(events: ir.Table, kinds: Iterable[EventType]) -> ir.BooleanValue:
    """Whether each event, of a log that has types as texts, is of one of ``kinds``.

    For more than a few types IN is a join of all rows; this looks once at each word of Parquet's dictionary.
    """
    names: ir.ArrayScalar = ibis.literal([str(kind) for kind in kinds], type="array<string>")
    return names.contains(events.event_type)


def constant(value: float) -> ir.FloatingValue:
    """A number as a float64 literal. An engine reads plain digits as a decimal, whose products may overflow."""
    return ibis.literal(repr(float(value))).cast("float64")


def days_between(earlier: ir.TimestampValue, later: ir.TimestampValue) -> ir.FloatingValue:
    """Days from one moment to another, as float64."""
    seconds = epoch_seconds(later) - epoch_seconds(earlier)
    return seconds / ibis.literal(SECONDS_PER_DAY).cast("float64")


@ibis.udf.scalar.builtin(name="hash")  # type: ignore[untyped-decorator]
def hashed(text: dt.string) -> dt.uint64:  # type: ignore[empty-body, valid-type]
    """Hash of a text or a null. Grouping and joining by it takes a third of the time.

    This is the engine's own hash. Ibis's own writes the hash out in binary digits and parses them to get a signed
    number. A null used with it must be untyped, since Spark's numbers are all signed. Hashes have 64 bits; engines have
    different ones, so none is part of a result.
    """


FIXED_POINT = float(2**30)
"""Steps per unit in fixed-point sums: a step is about 1e-9 of a view, a day or a unit of money."""
FINE_POINT = float(2**36)
"""Steps per unit in sums of decayed weights, which must agree to 1e-9 from night to night; holds sums up to 1e8."""


def exact_sum(
    values: ir.NumericValue, where: ir.BooleanValue | None = None, *, unit: float = FIXED_POINT
) -> ir.FloatingValue:
    """Sum that does not depend on the order of rows: values are added as multiples of 1 / ``unit``.

    The last digits of a sum of floats depend on the order in which threads add them, and so does every number derived
    from it. Each value is rounded by at most 5e-10 (7e-12 with `FINE_POINT`). Nulls are skipped; no rows give 0.
    """
    scale = ibis.literal(unit).cast("float64")
    fixed = (values.cast("float64") * scale).round().cast("int64")
    return fixed.sum(where=where).fill_null(0).cast("float64") / scale
