"""Customer attributes: the columns of the shop's own customer table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import ibis
import ibis.expr.types as ir


def column_kinds(customers: ir.Table) -> dict[str, str]:
    """Column -> ``number``, ``text`` or ``other`` (dates, lists, ...); customer_id and registered_at are left out."""
    kinds = {}
    for name, kind in customers.schema().items():
        if name not in ("customer_id", "registered_at"):
            is_text = kind.is_string() or kind.is_boolean()
            kinds[name] = "number" if kind.is_numeric() else "text" if is_text else "other"
    return kinds


def spread(customers: ir.Table, column: str, *, min_group: int) -> ir.Table:
    """How many customers share the values of a column.

       customers (..., <column>)
    -> spread (known_count, value_count, shared_count, is_whole)     one row; shared_count: customers whose value occurs
                                                                     ``min_group`` times or more
    """
    known = _known(customers, column)
    kind = customers[column].type()
    is_fraction = known.value % 1 != 0 if kind.is_floating() or kind.is_decimal() else ibis.literal(False)
    by_value = known.mutate(is_fraction=is_fraction).group_by("value")
    counts = by_value.aggregate(customer_count=lambda t: t.count(), is_fraction=lambda t: t.is_fraction.any())
    return counts.aggregate(
        known_count=counts.customer_count.sum().fill_null(0),
        value_count=counts.count(),
        shared_count=counts.customer_count.sum(where=counts.customer_count >= min_group).fill_null(0),
        is_whole=~counts.is_fraction.any().fill_null(False),
    )


def quantiles(customers: ir.Table, column: str, *, bands: int) -> ir.Table:
    """Bounds (q1, q2, ...) between ``bands`` bands of about equal size; one row."""
    known = _known(customers, column)
    value = known.value.cast("float64")
    return known.aggregate(**{f"q{number}": value.quantile(number / bands) for number in range(1, bands)})


def value_counts(
    customers: ir.Table, membership: ir.Table, columns: Sequence[str], bounds: Mapping[str, Sequence[float]]
) -> ir.Table:
    """Customers by segment and value of each column; customers without a value are left out.

        customers (customer_id, <columns>), membership (customer_id, segment_id)
     -> counts (topic, value, segment_id, customer_count)     one row per column, value and segment

    Parameters
    ----------
    bounds : mapping
        Numeric column -> bounds, ascending. Its values are then bands ("< 30", "30–50", "≥ 50").
    """
    members = customers.select("customer_id", *columns).join(membership, "customer_id")
    tables = []
    for column in columns:
        raw = _number_or_null(members[column])
        value = banded(raw, bounds[column]) if column in bounds else trimmed(raw)
        known = members.select("segment_id", topic=ibis.literal(column), value=value)
        known = known.filter(known.value.notnull())
        tables.append(known.group_by("topic", "value", "segment_id").aggregate(customer_count=known.count()))
    return ibis.union(*tables) if len(tables) > 1 else tables[0]


def banded(values: ir.NumericValue, bounds: Sequence[float]) -> ir.StringValue:
    """The band of each number. A band includes its lower bound; null stays null."""
    texts = [f"{bound:,.10g}" for bound in bounds]
    names = [f"< {texts[0]}", *(f"{low}–{high}" for low, high in pairwise(texts))]
    cases = [(values.cast("float64") < bound, name) for bound, name in zip(bounds, names, strict=True)]
    return values.isnull().ifelse(ibis.null("string"), ibis.cases(*cases, else_=f"≥ {texts[-1]}"))


def trimmed(values: ir.Value) -> ir.StringValue:
    """Values as trimmed text; null if nothing is left."""
    return values.cast("string").strip().nullif("")


def _known(customers: ir.Table, column: str) -> ir.Table:
    """One row (value) per customer with a value in the column; NaN and infinity count as missing."""
    value = customers[column]
    table = customers.select(value=_number_or_null(value) if value.type().is_numeric() else trimmed(value))
    return table.filter(table.value.notnull())


def _number_or_null(values: ir.Value) -> ir.Value:
    """The values, with NaN and infinity replaced by null."""
    if not values.type().is_floating():
        return values
    return (values.isnan() | values.isinf()).ifelse(ibis.null(values.type()), values)
