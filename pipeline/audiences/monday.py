"""What to do on Monday: the few actions with the most money at stake, each with the audience it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis.expr.types as ir

from pipeline.audiences.selection import Condition, meets_all
from pipeline.config.sections.audiences import AudienceParams, Bounds

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


@dataclass(frozen=True)
class Action:
    """Something to do for an audience.

    Attributes
    ----------
    name : str
        Key of `CANDIDATES`; also a name for the audience.
    where : mapping
        Conditions of the audience, as in ``audiences`` of params.yaml.
    customer_count : int
    money : float or None
        Sum of ``money_column`` over the audience, in the shop's currency; None if the scores have no money.
    money_column : str or None
        One of `MONEY_COLUMNS`.
    """

    name: str
    where: Mapping[str, Condition]
    customer_count: int
    money: float | None
    money_column: str | None

    @property
    def order_by(self) -> str | None:
        """Most money first."""
        return f"-{self.money_column}" if self.money_column else None

    @property
    def definition(self) -> AudienceParams:
        """The audience, as a section of params.yaml."""
        return AudienceParams.model_validate({"where": dict(self.where), "order_by": self.order_by})


def monday_actions(con: Backend, scores: ir.Table, *, separator: str, min_group: int) -> list[Action]:
    """Actions by money at stake, most first; at most `MAX_ACTIONS`. Without money, the largest audience comes first.

    Parameters
    ----------
    scores : Table
        One row per customer. Actions whose columns it lacks are left out.
    separator : str
        Between the levels of a category path.
    min_group : int
        Actions for fewer customers are left out.
    """
    possible = {name: where for name, where in CANDIDATES.items() if set(where) <= set(scores.columns)}
    money_columns = [column for column in MONEY_COLUMNS if column in scores.columns]
    measures = {f"known {column}": scores[column].count() for column in money_columns}
    for name, where in possible.items():
        is_in = meets_all(scores, where, separator=separator)
        measures[f"count {name}"] = scores.count(where=is_in)
        measures |= {f"{column} {name}": scores[column].sum(where=is_in) for column in money_columns}
    if not possible:
        return []
    figures = con.to_pandas(scores.aggregate(**measures)).fillna(0.0).iloc[0]
    money_column = next((column for column in money_columns if figures[f"known {column}"]), None)
    actions = [
        Action(
            name,
            where,
            int(figures[f"count {name}"]),
            float(figures[f"{money_column} {name}"]) if money_column else None,
            money_column,
        )
        for name, where in possible.items()
        if figures[f"count {name}"] >= min_group
    ]
    return sorted(actions, key=lambda action: (-(action.money or 0.0), -action.customer_count))[:MAX_ACTIONS]
