"""Builds an audience from the scores: conditions, exclusions, order, limit and control group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features.categories import SEPARATOR
from models.control_groups import detectable_effect, holdout_groups
from pipeline.audiences.selection import (
    CATEGORY,
    AudienceError,
    Condition,
    EmptyAudienceError,
    closest,
    condition_text,
    condition_values,
    meets,
    meets_all,
)
from pipeline.config.sections.audiences import AudienceParams, Bounds

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

SEND, HELD_OUT = "send", "held_out"
MAX_VALUES = 20
"""That a message lists."""
LARGEST = 5
"""Categories that a message lists."""
KEPT_COLUMNS = (
    *("segment_id", "segment", "interest_segment_id", "interest_segment"),
    *("days_since_last_purchase", "order_count", "spend", "activity"),
    *("buy_probability", "expected_spend", "alive_probability"),
)
"""Columns of the scores that an audience keeps, to measure its effect by segment and with what was known before."""


@dataclass(frozen=True)
class Step:
    """A condition or exclusion, and how many customers are left after it."""

    text: str
    customer_count: int


@dataclass(frozen=True)
class Audience:
    """Customers that an action is for, with a control group held out.

    Attributes
    ----------
    table : DataFrame
        customer_id, group (`SEND` or `HELD_OUT`), position (1 is first), and the `KEPT_COLUMNS` that the scores have;
        in the order of the audience.
    steps : list of Step
        From all scored customers to the audience.
    unknown_count : int
        Ids to exclude that the scores do not have.
    detectable_rise : float or None
        The smallest rise in the share of buyers that the control group can show; None without one, or if none can be
        shown.
    base_rate : float or None
        The share of buyers it is measured from: the mean of `buy_probability`.
    """

    name: str
    as_of: datetime
    definition: AudienceParams
    table: pd.DataFrame
    steps: list[Step] = field(default_factory=list)
    unknown_count: int = 0
    base_rate: float | None = None
    detectable_rise: float | None = None

    def count(self, group: str) -> int:
        """Customers in a group."""
        return int((self.table["group"] == group).sum())


@dataclass(frozen=True)
class Excluded:
    """Customers to leave out, and why."""

    text: str
    customer_ids: frozenset[str]


def build_audience(
    con: Backend,
    scores: ir.Table,
    name: str,
    definitions: Mapping[str, AudienceParams],
    *,
    excluded: Iterable[Excluded] = (),
    key: str,
    separator: str,
) -> Audience:
    """The audience ``name`` of ``definitions``.

    Parameters
    ----------
    scores : Table
        One row per customer.
    excluded : iterable of Excluded
        Customers to leave out besides those of other audiences (``exclude.audiences``).
    key : str
        Secret of the control groups.
    separator : str
        Between the levels of a category path.

    Raises
    ------
    AudienceError
        The audience is not described as the scores need it.
    EmptyAudienceError
        No customer is in it.
    """
    definition = definitions[name]
    kept = [column for column in KEPT_COLUMNS if column in scores.columns]
    order = _order(scores, definition)
    steps = [Step("scored", int(con.execute(scores.count())))]
    selected = scores
    for column, condition in definition.where.items():
        selected = selected.filter(meets(selected, column, condition, separator=separator))
        steps.append(Step(condition_text(column, condition), int(con.execute(selected.count()))))
    if not steps[-1].customer_count:
        raise EmptyAudienceError(
            f"audiences.{name}: no customer meets all conditions. {_what_is_left(steps)}"
            + "".join(_values_there_are(con, scores, *given, separator) for given in definition.where.items())
        )
    table = con.to_pandas(selected.order_by(order).select("customer_id", "as_of", *kept))
    as_of = table["as_of"].iloc[0].to_pydatetime()
    others = [
        Excluded(f"in {other}", audience_members(con, scores, other, definitions, separator, above=(name,)))
        for other in definition.exclude.audiences
    ]
    table, left, unknown_count = _without(table, [*excluded, *others], known=scores, con=con)
    if table.empty:
        raise EmptyAudienceError(f"audiences.{name}: the exclusions leave nobody. {_what_is_left([*steps, *left])}")
    if definition.limit is not None:
        table = table.head(definition.limit)
        left.append(Step(f"the first {definition.limit:,}", len(table)))
    table = table.drop(columns="as_of").reset_index(drop=True)
    is_held_out = np.zeros(len(table), dtype=np.bool_)
    if definition.holdout_share:
        is_held_out = holdout_groups(
            table["customer_id"],
            campaign=name,
            key=key,
            share=definition.holdout_share,
            strata=table.get("segment_id"),
        )
    table.insert(1, "group", np.where(is_held_out, HELD_OUT, SEND))
    table.insert(2, "position", np.arange(1, len(table) + 1))
    base_rate, rise = _detectable(table, is_held_out)
    return Audience(name, as_of, definition, table, [*steps, *left], unknown_count, base_rate, rise)


def _order(scores: ir.Table, definition: AudienceParams) -> list[ir.Value]:
    """The order asked for, then customer_id, so that ties are always in the same order."""
    if definition.order_by is None:
        return [scores["customer_id"]]
    column = definition.order_by.removeprefix("-")
    if column not in scores.columns:
        raise AudienceError(f"`order_by`: `{column}` is not a column of the scores.")
    key = ibis.desc(scores[column], nulls_first=False) if definition.order_by.startswith("-") else scores[column].asc()
    return [key, scores["customer_id"]]


def audience_members(
    con: Backend,
    scores: ir.Table,
    name: str,
    definitions: Mapping[str, AudienceParams],
    separator: str,
    *,
    above: tuple[str, ...] = (),
) -> frozenset[str]:
    """Customers that meet the conditions of an audience, less those that it excludes by audience.

    Parameters
    ----------
    above : tuple of str
        Audiences that exclude this one.
    """
    if name not in definitions:
        known = ", ".join(definitions)
        raise AudienceError(
            f"audiences.{above[-1]}.exclude.audiences: expected one of {known}; there is no audience {name!r}."
        )
    if name in above:
        raise AudienceError(f"audiences.{above[-1]}.exclude.audiences: {' excludes '.join([*above, name])}: a circle.")
    definition = definitions[name]
    selected = scores.filter(meets_all(scores, definition.where, separator=separator)).select("customer_id")
    ids = frozenset(con.to_pandas(selected)["customer_id"])
    for other in definition.exclude.audiences:
        ids -= audience_members(con, scores, other, definitions, separator, above=(*above, name))
    return ids


def _without(
    table: pd.DataFrame, exclusions: Iterable[Excluded], *, known: ir.Table, con: Backend
) -> tuple[pd.DataFrame, list[Step], int]:
    """The table without the excluded customers, how many are left after each, and ids that nobody has."""
    steps, unknown_count = [], 0
    for exclusion in exclusions:
        is_excluded = table["customer_id"].isin(exclusion.customer_ids)
        table = table[~is_excluded]
        steps.append(Step(f"not {exclusion.text}", len(table)))
        if exclusion.customer_ids:
            listed = ibis.memtable({"customer_id": sorted(exclusion.customer_ids)})
            unknown_count += int(con.execute(listed.anti_join(known, "customer_id").count()))
    return table, steps, unknown_count


def _detectable(table: pd.DataFrame, is_held_out: np.ndarray) -> tuple[float | None, float | None]:
    if not is_held_out.any() or is_held_out.all() or "buy_probability" not in table:
        return None, None
    base_rate = float(table["buy_probability"].mean())
    if not 0.0 < base_rate < 1.0:
        return None, None
    held_out_count = int(is_held_out.sum())
    return base_rate, detectable_effect(len(table) - held_out_count, held_out_count, base_rate)


def _values_there_are(con: Backend, scores: ir.Table, column: str, condition: Condition, separator: str) -> str:
    """The values of a column, if one that the condition names is not among them and they are few."""
    if column == CATEGORY:
        categories = map(str, condition_values(condition, column))
        return "".join(_closest_category(con, scores, category, separator) for category in categories)
    if column not in scores.columns or not scores[column].type().is_string() or isinstance(condition, Bounds):
        return ""
    found = con.to_pandas(scores.select(column).distinct().limit(MAX_VALUES + 1))[column]
    values = sorted(found.dropna())
    named = [condition] if isinstance(condition, str) else condition
    if len(found) > MAX_VALUES or not isinstance(named, Sequence) or set(named) <= set(values):
        return ""
    return f" {column} can be {', '.join(values)}."


def _closest_category(con: Backend, scores: ir.Table, category: str, separator: str) -> str:
    """The category that is closest to one that no customer has; the largest ones if none is close."""
    if con.execute(meets(scores, CATEGORY, category, separator=separator).any()):
        return ""
    paths = scores.select(path=scores["top_categories"].unnest())
    counted = paths.group_by("path").agg(customer_count=paths.count())
    found = con.to_pandas(counted.order_by(ibis.desc("customer_count"), "path"))["path"].tolist()
    near = closest(category, [name for path in found for name in (path, *path.split(SEPARATOR))])
    hint = f"Did you mean {near!r}?" if near else f"The largest are {', '.join(found[:LARGEST]) or 'none'}."
    return f" No customer has {category!r} among the top categories. {hint}"


def _what_is_left(steps: list[Step]) -> str:
    return "Customers left: " + "; ".join(f"{step.text}: {step.customer_count:,}" for step in steps) + "."
