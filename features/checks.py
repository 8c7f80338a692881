"""Row rules as data: what every event must be, checked in one pass, with all reasons a row breaks.

A row's reasons are the bits of one whole number, so that checking stays one expression over the log and a row that
breaks nothing costs eight bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from features.events import WITHOUT_PRODUCT

REASONS = "reasons"
NUMBERS = ("quantity", "unit_price", "discount")
LARGEST = 1e12
"""Of prices, discounts and quantities. What is above is a number in the wrong column; products and sums of what is
below have room in the decimals that money is added in."""


@dataclass(frozen=True)
class Rule:
    """One thing every row must be.

    Attributes
    ----------
    expectation : str
        What was expected, in plain words.
    broken : callable
        Parsed events -> is the rule broken, per row. Null counts as not broken.
    """

    name: str
    expectation: str
    broken: Callable[[ir.Table], ir.BooleanValue]


def _is_blank(text: ir.StringValue) -> ir.BooleanValue:
    # Blanks sort before "!", so that only few texts are stripped: stripping every id of a long log takes seconds.
    return text.isnull() | ibis.cases((text < "!", text.strip() == ""), else_=False)


def rules(*, max_text_chars: int) -> tuple[Rule, ...]:
    """All rules, in the order of their bits.

    Parameters
    ----------
    max_text_chars : int
        Characters that an id, a category or a query may have.
    """
    return (
        Rule("missing_customer_id", "a customer_id", lambda t: _is_blank(t.customer_id)),
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
                t.event_type.notin([str(kind) for kind in WITHOUT_PRODUCT])
                & _is_blank(t.product_id)
                & _is_blank(t.category_path)
            ),
        ),
        Rule(
            "unreadable_number",
            f"numbers with a decimal point, up to {LARGEST:g}",
            lambda t: t.has_unreadable_number | ibis.or_(*(t[name].abs() > LARGEST for name in NUMBERS)),
        ),
        Rule("negative_price", "a unit_price of 0 or more", lambda t: (t.unit_price < 0) | (t.discount < 0)),
        Rule("negative_quantity", "a quantity of 0 or more", lambda t: t.quantity < 0),
        Rule("text_too_long", f"texts of at most {max_text_chars:,} characters", lambda t: t.has_long_text),
    )


def with_reasons(table: ir.Table, checked: tuple[Rule, ...]) -> ir.Table:
    """Parsed events with the rules each row breaks.

       parsed (columns of the events, source_event_type, has_unreadable_number, has_long_text)
    -> parsed (..., reasons)     same rows; bit i is set where rule i is broken, 0 is an accepted row
    """
    nothing: ir.IntegerValue = ibis.literal(0).cast("int32")
    broken = [rule.broken(table) for rule in checked]
    reasons = nothing
    for bit, is_broken in enumerate(broken):
        reasons = reasons + is_broken.ifelse(2**bit, 0).cast("int32")
    # Most rows break nothing, and are not asked which.
    return table.mutate(**{REASONS: ibis.or_(*broken).ifelse(reasons, nothing)})


def rejected(table: ir.Table) -> ir.Table:
    """Rows that break at least one."""
    return table.filter(table[REASONS] != 0)


def accepted(table: ir.Table, broken: ir.Table, *, place: tuple[str, str]) -> ir.Table:
    """Rows of ``table`` whose place is not in ``broken``; few rows are broken, so this is cheaper than the rules.

    Parameters
    ----------
    place : tuple of str
        Columns that say where a row stands: the first may be null, the second is never.
    """
    file, row = place
    return table.anti_join(broken, [table[file].identical_to(broken[file]), table[row] == broken[row]])


def reason_names(reasons: int, checked: tuple[Rule, ...]) -> Iterator[str]:
    """The names of the rules whose bits are set.

    Examples
    --------
    >>> list(reason_names(0b101, rules(max_text_chars=10)))
    ['missing_customer_id', 'unreadable_time']
    """
    return (rule.name for bit, rule in enumerate(checked) if reasons >> bit & 1)
