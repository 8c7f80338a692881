"""What to do on Monday: the few actions with the most money at stake, each with the audience it is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa

from models.disclosure import is_few, rounded_count, rounded_sums
from models.scorer import expected_value, segment_columns
from pipeline.audiences.selection import Condition, meets_all
from pipeline.config.sections.audiences import AudienceParams, Bounds
from pipeline.report.summary import ActionFigures
from pipeline.scoring.score_table import journey_events
from pipeline.segmentation.training_summary import TrainingFindings

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

MAX_ACTIONS = 5
MONEY_COLUMNS = ("expected_spend", "spend")
"""Columns of the scores that money at stake is taken from: the first whose values are known."""
CANDIDATES: Mapping[str, Mapping[str, Condition]] = {
    "win_back_high_spenders": {"lifecycle_stage": ["slipping", "lapsed"], "value_tier": ["vip", "regular"]},
    "remind_of_carts": {"journey_events": "left_cart"},
    "keep_vips": {"value_tier": "vip", "is_border": True},
    "second_order": {"lifecycle_stage": ["first_order", "active"], "order_count": Bounds(max=1.0)},
    "nearly_vip": {"next_tier": "vip"},
}
"""Name of an action -> the conditions of its audience."""
TRAINING_COLUMNS = pa.schema(
    {
        **dict.fromkeys(("lifecycle_stage", "value_tier", "next_tier"), pa.string()),
        **dict.fromkeys(("order_count", "spend", "expected_spend"), pa.float64()),
        **{"is_border": pa.bool_(), "journey_events": pa.list_(pa.string())},
    }
)
"""Columns of the scores that the actions of a training are found from."""


class Action(ActionFigures):
    """Something to do for an audience; ``name`` is a key of `CANDIDATES` and the name of the audience."""

    @property
    def where(self) -> Mapping[str, Condition]:
        """Conditions of the audience, as in ``audiences`` of params.yaml."""
        return CANDIDATES[self.name]

    @property
    def order_by(self) -> str | None:
        """Most money first."""
        return f"-{self.money_column}" if self.money_column else None

    @property
    def definition(self) -> AudienceParams:
        """The audience, as a section of params.yaml."""
        return AudienceParams.model_validate({"where": dict(self.where), "order_by": self.order_by})


def action_audience(con: Backend, scores: ir.Table, name: str) -> AudienceParams:
    """The audience of an action, most money first."""
    return Action(name=name, customer_count=0, money=None, money_column=_known_money(con, scores)).definition


def training_scores(findings: TrainingFindings) -> ir.Table:
    """The columns of the scores that actions need, as scoring the customers of a training would give them."""
    profile = findings.profiles.table
    columns = profile.reindex(columns=TRAINING_COLUMNS.names).assign(
        is_border=segment_columns(profile, findings.facets[0].segments.model).is_border.to_numpy(),
        journey_events=journey_events(profile).to_pandas().to_numpy(),
        expected_spend=expected_value(profile, findings.expected_value.model).expected_spend.to_numpy(),
    )
    return ibis.memtable(pa.Table.from_pandas(columns, schema=TRAINING_COLUMNS, preserve_index=False))


def monday_actions(
    con: Backend, scores: ir.Table, *, separator: str, min_group: int, is_published: bool = True
) -> list[Action]:
    """Actions by money at stake, most first; at most `MAX_ACTIONS`. Without money, the largest audience comes first.

    Parameters
    ----------
    scores : Table
        One row per customer. Actions whose columns it lacks are left out.
    separator : str
        Between the levels of a category path.
    min_group : int
        Actions for fewer customers are left out. Money that fewer customers bring is hidden.
    is_published : bool
        Round all figures, as in the report. The page shows exact ones, next to the lists of the same customers.
    """
    possible = {name: where for name, where in CANDIDATES.items() if set(where) <= set(scores.columns)}
    if not possible:
        return []
    money_column = _known_money(con, scores)
    measures = {}
    for name, where in possible.items():
        is_in = meets_all(scores, where, separator=separator)
        measures[f"count {name}"] = scores.count(where=is_in)
        if money_column:
            measures[f"money {name}"] = scores[money_column].sum(where=is_in)
            measures[f"sizes {name}"] = scores[money_column].abs().sum(where=is_in)
            measures[f"largest {name}"] = scores[money_column].abs().max(where=is_in)
            measures[f"payers {name}"] = scores.count(where=is_in & (scores[money_column] != 0))
    figures = con.to_pandas(scores.aggregate(**measures)).fillna(0.0).iloc[0]
    actions = [
        Action(
            name=name,
            customer_count=rounded_count(figures[f"count {name}"], min_group)
            if is_published
            else int(figures[f"count {name}"]),
            money=_shown_money(figures, name, min_group, is_published=is_published) if money_column else None,
            money_column=money_column,
        )
        for name in possible
        if figures[f"count {name}"] >= min_group
    ]
    return sorted(actions, key=lambda action: (-(action.money or 0.0), -action.customer_count))[:MAX_ACTIONS]


def _known_money(con: Backend, scores: ir.Table) -> str | None:
    """The first of `MONEY_COLUMNS` with known values; None without one."""
    columns = [column for column in MONEY_COLUMNS if column in scores.columns]
    if not columns:
        return None
    known = con.to_pandas(scores.aggregate(**{column: scores[column].count() for column in columns})).iloc[0]
    return next((column for column in columns if known[column]), None)


def _shown_money(figures: pd.Series, name: str, min_group: int, *, is_published: bool) -> float | None:
    """The money at stake; None if fewer than ``min_group`` customers bring it, but at least one."""
    money, sizes, largest, payers = (
        float(figures[f"{part} {name}"]) for part in ("money", "sizes", "largest", "payers")
    )
    if is_few(payers, min_group):
        return None
    if not is_published:
        return money
    return float(rounded_sums(money, sizes=sizes, largest=largest, contributors=payers, min_group=min_group))
