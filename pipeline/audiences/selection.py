"""Which customers an audience selects: its conditions as one expression over the scores."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import and_, or_

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from features.categories import SEPARATOR
from pipeline.config.errors import UserError
from pipeline.config.sections.audiences import Bounds, Scalar

CATEGORY = "category"
"""A condition on this name holds for customers with the category, or one below it, among their top categories."""
INTEREST = ("interest_segment", "interest_segment_id")
CUSTOMER_ID = "customer_id"
LEVEL_END, PATH_END = "\x1f", "\x1e"


class AudienceError(UserError):
    """An audience cannot be selected as it is described."""


class EmptyAudienceError(AudienceError):
    """Nobody is in an audience."""


Condition = Scalar | Sequence[Scalar] | Bounds


def condition_text(column: str, condition: Condition) -> str:
    """A condition in words, without ids of customers.

    Examples
    --------
    >>> condition_text("segment", ["VIP", "Lapsed"]), condition_text("spend", Bounds(min=20, max=90))
    ('segment is VIP or Lapsed', 'spend is at least 20 and at most 90')
    """
    if not isinstance(condition, Bounds):
        values = condition if isinstance(condition, Sequence) and not isinstance(condition, str) else [condition]
        if column == CUSTOMER_ID:
            return f"{column} is one of {len(values)}"
        return f"{column} is {' or '.join(_scalar_text(value) for value in values)}"
    if condition.min is None and condition.max is None:
        return f"{column} is {'known' if condition.known else 'not known'}"
    bounds = {"at least": condition.min, "at most": condition.max}
    return f"{column} is {' and '.join(f'{word} {bound:,g}' for word, bound in bounds.items() if bound is not None)}"


def _scalar_text(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else f"{value:,g}"


def meets_all(scores: ir.Table, where: Mapping[str, Condition], *, separator: str) -> ir.BooleanValue:
    """Whether a customer meets every condition.

    Parameters
    ----------
    scores : Table
        One row per customer.
    where : mapping
        Column of the scores, or `CATEGORY` -> a value, several values of which one must hold, or bounds. A value of a
        list column holds if it is in the list. A null meets no condition but ``known: false``.
    separator : str
        Between the levels of a category path in a condition, besides the one that scores have.

    Raises
    ------
    AudienceError
        A column does not exist, or a condition does not fit its type.
    """
    conditions = [meets(scores, column, condition, separator=separator) for column, condition in where.items()]
    return reduce(and_, conditions, ibis.literal(True))


def meets(scores: ir.Table, column: str, condition: Condition, *, separator: str) -> ir.BooleanValue:
    """Whether a customer meets the condition on one column; never null."""
    if column == CATEGORY:
        return _has_category(scores, condition_values(condition, column), separator).fill_null(False)
    if column not in scores.columns:
        if column in INTEREST:
            raise AudienceError(
                "these scores have no segments by interest, as the log has no categories or params no facet for them. "
                "Use --segment, or a condition on `segment`."
            )
        near = difflib.get_close_matches(column, [*scores.columns, CATEGORY], n=1)
        hint = f" Did you mean `{near[0]}`?" if near else f" Columns: {', '.join(scores.columns)}."
        raise AudienceError(f"`{column}` is not a column of the scores.{hint}")
    if isinstance(condition, Bounds):
        return _within(scores[column], condition, column)
    values = [_fitting(value, scores[column].type(), column) for value in condition_values(condition, column)]
    if scores[column].type().is_array():
        holds = [scores[column].contains(value) for value in values]
        return reduce(or_, holds).fill_null(False)
    return scores[column].isin(values).fill_null(False)


def condition_values(condition: Condition, column: str) -> list[Scalar]:
    """The values of which one must hold; the condition is no bounds."""
    if isinstance(condition, Bounds):
        raise AudienceError(f"`{column}`: expected one or more names, got bounds.")
    values = list(condition) if isinstance(condition, Sequence) and not isinstance(condition, str) else [condition]
    if not values:
        raise AudienceError(f"`{column}`: expected at least one value, got an empty list, which no customer meets.")
    return values


def _fitting(value: Scalar, type_: dt.DataType, column: str) -> Scalar:
    """``value``, if the column can hold it."""
    element = type_.value_type if isinstance(type_, dt.Array) else type_
    if element.is_string():
        fits, expected = isinstance(value, str), "a text"
    elif element.is_boolean():
        fits, expected = isinstance(value, bool), "true or false"
    else:
        fits, expected = isinstance(value, float) and not isinstance(value, bool), "a number"
    if not fits:
        raise AudienceError(f"`{column}`: expected {expected}, got {value!r}.")
    return value


def _within(column: ir.Value, bounds: Bounds, name: str) -> ir.BooleanValue:
    if bounds.known is False:
        return column.isnull()
    conditions = [column.notnull()]
    if bounds.min is not None or bounds.max is not None:
        if not column.type().is_numeric():
            raise AudienceError(f"`{name}`: expected names, got bounds; the column has no numbers.")
        conditions += [] if bounds.min is None else [column >= bounds.min]
        conditions += [] if bounds.max is None else [column <= bounds.max]
    return reduce(and_, conditions).fill_null(False)


def _has_category(scores: ir.Table, categories: Sequence[Scalar], separator: str) -> ir.BooleanValue:
    """Whether one of the top categories has one of these names, or one of these paths, at any level."""
    if "top_categories" not in scores.columns:
        raise AudienceError(f"`{CATEGORY}`: the scores have no top_categories.")
    text = category_text(scores["top_categories"])
    return reduce(or_, [names_category(text, str(category), separator) for category in categories])


def closest(text: str, known: Iterable[str]) -> str | None:
    """The text of ``known`` that is most like ``text``, in any case; None if none is close."""
    by_lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(text.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def category_text(top_categories: ir.ArrayValue) -> ir.StringValue:
    """Top categories as one text, in which `names_category` finds a level or a path in any case."""
    levels = top_categories.join(LEVEL_END + PATH_END + LEVEL_END).replace(SEPARATOR, LEVEL_END).lower()
    return ibis.literal(LEVEL_END).concat(levels, LEVEL_END)


def names_category(text: ir.StringValue, category: str, separator: str) -> ir.BooleanValue:
    """Whether a `category_text` has the category, by name or by path, at any level; null where the text is.

    Parameters
    ----------
    separator : str
        Between the levels of the log's paths: a path may be given as the log or as the scores have it.
    """
    levels = (level.strip() for level in category.replace(separator, SEPARATOR).split(SEPARATOR))
    # The database lowers both, as Python lowers some letters of Greek and Turkish differently.
    return text.contains(ibis.literal(f"{LEVEL_END}{LEVEL_END.join(levels)}{LEVEL_END}").lower())
