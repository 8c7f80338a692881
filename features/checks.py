"""Row rules as data: all are checked in one pass, and a row keeps every rule it breaks.

The broken rules of a row are the bits of one integer, so checking stays one expression over the log and a valid row
costs only a few bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from features.events import WITHOUT_PRODUCT, EventType, has_type

REASONS = "reasons"
NUMBERS = ("quantity", "unit_price", "discount")
LARGEST_NUMBER = 1e12
"""Largest price, discount or quantity. A larger number is in the wrong column. Products and sums of numbers up to it
fit into the decimals used for money."""


@dataclass(frozen=True)
class Rule:
    """A condition that every row must meet.

    Attributes
    ----------
    expectation : str
        What was expected, in plain words.
    broken : callable
        Parsed events -> whether each row breaks the rule. Null counts as not broken.
    """

    name: str
    expectation: str
    broken: Callable[[ir.Table], ir.BooleanValue]


def _is_blank(text: ir.StringValue) -> ir.BooleanValue:
    # Blanks sort before "!", so few texts are stripped. Stripping every id of a long log takes seconds.
    return text.isnull() | ibis.cases((text < "!", text.strip() == ""), else_=False)


def _is_refund(events: ir.Table) -> ir.BooleanValue:
    """Whether money is given back for an order, or an amount of it is known: that needs no product."""
    return (events.event_type == str(EventType.RETURN)) & (events.order_id.notnull() | events.unit_price.notnull())


def rules(*, max_text_chars: int, has_products: bool = True) -> tuple[Rule, ...]:
    """All rules, in the order of their bits.

    Parameters
    ----------
    max_text_chars : int
        Longest id, category or query, in characters.
    has_products : bool
        Whether the log has products or categories; a log of orders without lines has none, and needs none.
    """
    checked = (
        Rule("missing_customer_id", "a customer_id", lambda t: _is_blank(t.customer_id)),
        Rule("not_a_customer", "an id that source.ids.not_customers does not list", lambda t: t.is_not_a_customer),
        Rule("missing_event_type", "an event type", lambda t: _is_blank(t.source_event_type)),
        Rule("unreadable_time", "a time in source.events.time_format", lambda t: t.occurred_at.isnull()),
        Rule(
            "time_out_of_range",
            "a time from 1990 to 2099",
            lambda t: (t.occurred_at < ibis.timestamp("1990-01-01")) | (t.occurred_at >= ibis.timestamp("2100-01-01")),
        ),
        Rule(
            "missing_product_id",
            "a product_id or category_path, which this event type needs",
            lambda t: (
                ~has_type(t, WITHOUT_PRODUCT) & _is_blank(t.product_id) & _is_blank(t.category_path) & ~_is_refund(t)
            ),
        ),
        Rule(
            "unreadable_number",
            f"numbers with a decimal point, up to {LARGEST_NUMBER:g}",
            lambda t: t.has_unreadable_number | ibis.or_(*(t[name].abs() > LARGEST_NUMBER for name in NUMBERS)),
        ),
        Rule("negative_price", "a unit_price of 0 or more", lambda t: (t.unit_price < 0) | (t.discount < 0)),
        Rule("negative_quantity", "a quantity of 0 or more", lambda t: t.quantity < 0),
        Rule("text_too_long", f"texts of at most {max_text_chars:,} characters", lambda t: t.has_long_text),
    )
    return tuple(rule for rule in checked if has_products or rule.name != "missing_product_id")


def with_reasons(table: ir.Table, checked: tuple[Rule, ...]) -> ir.Table:
    """Parsed events with the rules each row breaks.

       parsed (columns of the events, source_event_type, is_not_a_customer, has_unreadable_number, has_long_text)
    -> parsed (..., reasons)     same rows; bit i is set where rule i is broken; 0: accepted
    """
    no_reasons: ir.IntegerValue = ibis.literal(0).cast("int32")
    broken = [rule.broken(table) for rule in checked]
    reasons = no_reasons
    for bit, is_broken in enumerate(broken):
        reasons = reasons + is_broken.ifelse(2**bit, 0).cast("int32")
    # Most rows break no rule; they skip the sum of bits.
    return table.mutate(**{REASONS: ibis.or_(*broken).ifelse(reasons, no_reasons)})


def rejected(table: ir.Table) -> ir.Table:
    """Rows that break at least one rule."""
    return table.filter(table[REASONS] != 0)


def accepted(table: ir.Table, broken: ir.Table, *, place: tuple[str, str]) -> ir.Table:
    """Rows of ``table`` whose place is not in ``broken``. Few rows are broken, so this is cheaper than the rules.

    Parameters
    ----------
    place : tuple of str
        Columns that identify a row: file (may be null) and row number (never null).
    """
    file, row = place
    return table.anti_join(broken, [table[file].identical_to(broken[file]), table[row] == broken[row]])
