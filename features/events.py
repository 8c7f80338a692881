"""The event contract: which columns an event has, their types, and the window of time that counts.

One row is one thing a customer did. Everything on this floor takes tables of this form and gives tables.
Events at or after ``as_of`` do not exist: `ObservationWindow.of` is the one place that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

SECONDS_PER_DAY = 86_400.0


class EventType(StrEnum):
    """What a customer did."""

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
    """The stretch of time that is known: ``history_days`` long, up to and without ``as_of``.

    Parameters
    ----------
    as_of : datetime with a time zone
        The moment at which everything is known.
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
        """First moment that counts, in UTC without a zone."""
        return self.end - timedelta(days=self.history_days)

    def of(self, events: ir.Table) -> ir.Table:
        """Events within the window: same columns, fewer rows."""
        return events.filter(events.occurred_at >= self.start, events.occurred_at < self.end)

    def age_days(self, moment: ir.TimestampValue) -> ir.FloatingValue:
        """Days from ``moment`` to ``as_of``, as float64; above 0 for what has happened."""
        end_seconds = (self.end - datetime(1970, 1, 1)).total_seconds()
        seconds = ibis.literal(end_seconds).cast("float64") - epoch_seconds(moment)
        return seconds / ibis.literal(SECONDS_PER_DAY).cast("float64")


def epoch_seconds(moment: ir.TimestampValue) -> ir.FloatingValue:
    """Seconds since 1970-01-01, as float64 with the fraction the engine keeps in whole microseconds."""
    return moment.epoch_seconds().cast("float64")


def type_weight(events: ir.Table, weights: Mapping[EventType, float]) -> ir.FloatingValue:
    """What ``weights`` gives the type of each event, as float64; 0 where it gives nothing."""
    cases = [(str(kind), ibis.literal(float(weight)).cast("float64")) for kind, weight in weights.items()]
    return events.event_type.cases(*cases, else_=ibis.literal(0.0).cast("float64"))


def constant(value: float) -> ir.FloatingValue:
    """A number as float64, whatever it meets: an engine takes digits for a decimal, whose products may overflow."""
    return ibis.literal(repr(float(value))).cast("float64")


def days_between(earlier: ir.TimestampValue, later: ir.TimestampValue) -> ir.FloatingValue:
    """Days from one moment to another, as float64."""
    seconds = epoch_seconds(later) - epoch_seconds(earlier)
    return seconds / ibis.literal(SECONDS_PER_DAY).cast("float64")


@ibis.udf.scalar.builtin(name="hash")  # type: ignore[untyped-decorator]
def hashed(text: dt.string) -> dt.uint64:  # type: ignore[empty-body, valid-type]
    """A number that stands for a text, and for a null: grouped and joined in a third of its time.

    The engine's own hash: Ibis's writes it out in binary digits and reads them again, to make a signed number of it. A
    null beside it has no type, since Spark's numbers are all signed, and 32 bits long here: unique within a customer,
    not beyond.
    """


FIXED_POINT = float(2**30)
"""One unit in the fixed-point sums: about 1e-9 of a view, a day or a unit of money."""


FINE_POINT = float(2**36)
"""One unit in the sums of decayed weights, which are compared from night to night to 1e-9; room up to 1e8 each."""


def exact_sum(
    values: ir.NumericValue, where: ir.BooleanValue | None = None, *, unit: float = FIXED_POINT
) -> ir.FloatingValue:
    """Sum that does not depend on the order of rows: added as whole numbers of 1 / ``unit``.

    A sum of floats differs in its last digits with the order in which threads add them, and with it every number
    that follows. Each value is rounded by at most 5e-10 (7e-12 with `FINE_POINT`); a null counts as nothing; no row at
    all gives 0.
    """
    scale = ibis.literal(unit).cast("float64")
    fixed = (values.cast("float64") * scale).round().cast("int64")
    return fixed.sum(where=where).fill_null(0).cast("float64") / scale
