"""Where customers were at several dates -> who moved, how long they stayed, where the lost come from; as aggregates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from models.disclosure import none_or_all
from models.identity import STANDING
from models.migration import UNKNOWN, Floats, Ints, before_lost, directions, hide_small, move_counts, stay_length, stays

NO_ORDER, UNSEEN = "(no order)", "(unknown)"
ORDERS: dict[str, tuple[str, ...]] = {
    "lifecycle_stage": (
        *("active", "returned", "first_order", "cart", "browsing", "newcomer"),
        *("slipping", "lapsed", "lost", "inactive"),
    ),
    "temperature": ("hot", "warm", "cold"),
    "rfm_group": (
        *("VIP", "Champions", "Regular", "Loyal", "Potential loyalists", "New", "Promising", "Need attention"),
        *("About to sleep", "Cannot lose them", "At risk", "Inactive", "Hibernating", "Lost", NO_ORDER),
    ),
    "value_tier": ("vip", "regular", "occasional", NO_ORDER),
}
"""Segmentation -> its groups, the best first; a group that does not stand here is neither above nor below another."""
GONE = ("lost", "inactive")
LEAVING = ("slipping", "lapsed", *GONE)


def segment_columns_in(columns: Iterable[str]) -> list[str]:
    """Columns with the names of segments, one for each facet: segment, interest_segment."""
    ids = [name for name in columns if name.endswith("segment_id") and not name.startswith("next_")]
    return [name.removesuffix("_id") for name in ids]


def places_in(columns: Iterable[str]) -> list[str]:
    """Columns of scores, and of a history, that say where a customer is."""
    facets = [name for segment in segment_columns_in(columns) for name in (f"{segment}_id", segment)]
    return ["customer_id", "as_of", *facets, *ORDERS]


Row = dict[str, object]


@dataclass(frozen=True)
class Migration:
    """Who moved, in aggregates alone; cells of fewer than ``naming.min_group`` customers are hidden.

    Attributes
    ----------
    groups : dict
        Segmentation -> group -> what it is called, in order.
    moves : DataFrame
        segmentation, from_as_of, to_as_of, from_group, from_name, to_group, to_name, customer_count: from each date to
        the next, and from the first to the last. A row without groups holds the customers of all hidden cells, so that
        the rows of two dates add up to all customers.
    steps : DataFrame
        segmentation, from_as_of, to_as_of, then counts of customers over the cells that are shown: stayed_count,
        moved_count, up_count, down_count (null where the groups have no order), new_count (unknown at the first of the
        two dates); and hidden_count.
    stays : DataFrame
        segmentation, group, name, stay_count, median_days, mean_days, longest_days: of stays whose
        beginning was seen, by Kaplan and Meier.
    lost : DataFrame
        segmentation, group, name, before_count, standing_count: buyers who became lost (all, where nobody has bought),
        by their group at the date before and at the last date at which they were not slipping, lapsed or lost. A row
        without a group holds the hidden ones.
    """

    groups: dict[str, dict[str, str]]
    moves: pd.DataFrame
    steps: pd.DataFrame
    stays: pd.DataFrame
    lost: pd.DataFrame

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All of them, by name."""
        return {name: getattr(self, name) for name in ("moves", "steps", "stays", "lost")}


@dataclass(frozen=True)
class _Placed:
    """One segmentation: its groups, what they are called, and the code of each customer at each date."""

    name: str
    groups: list[str]
    names: dict[str, str]
    codes: Ints

    @property
    def ranks(self) -> list[int | None]:
        order = ORDERS.get(self.name, ())
        return [-order.index(group) if group in order else None for group in self.groups]


def stage_moves(before: pd.DataFrame, now: pd.DataFrame, *, since: str, min_group: int) -> dict[str, object] | None:
    """Customers by lifecycle stage at an earlier moment and now, for the report; None where nobody was known then.

    Parameters
    ----------
    before, now : DataFrame
        customer_id, lifecycle_stage: profiles; of whom only the later knows, nothing is said.
    since : str
        The earlier moment.
    """
    known = before[["customer_id", "lifecycle_stage"]].merge(now[["customer_id", "lifecycle_stage"]], on="customer_id")
    groups = pd.Index(ORDERS["lifecycle_stage"])
    was, is_now = (groups.get_indexer(pd.Index(known[f"lifecycle_stage_{side}"])).astype(np.int64) for side in "xy")
    shown, _ = hide_small(move_counts(was, is_now, len(groups))[:-1, :-1], min_group)
    if not shown.any():
        return None
    kept = np.flatnonzero(shown.any(axis=0) | shown.any(axis=1))
    return {
        "since": since,
        "customer_count": len(known),
        "stayed_share": float((was == is_now).mean()),
        "groups": groups[kept].tolist(),
        "rows": shown[np.ix_(kept, kept)].tolist(),
    }


def stayed_shares(before: pd.DataFrame, now: pd.DataFrame, *, min_group: int) -> dict[str, float]:
    """Of the customers of each segment at an earlier moment, the share who are in it now.

    None is told of small groups, nor where fewer than ``min_group``, but some, stayed or left; near none or all it is
    told as that.

    Parameters
    ----------
    before, now : DataFrame
        customer_id, segment_id; whoever only the earlier knows is in it no more.
    """
    known = before.merge(now, on="customer_id", how="left", suffixes=("_then", "_now"))
    has_stayed = known.segment_id_then == known.segment_id_now
    shares: dict[str, float] = {}
    for segment_id, stayed in has_stayed.groupby(known.segment_id_then):
        count, share = int(stayed.sum()), float(stayed.mean())
        tells_of_few = any(0 < part < min_group for part in (count, len(stayed) - count))
        told = none_or_all(share) if tells_of_few else share
        if told is not None and len(stayed) >= min_group:
            shares[str(segment_id)] = told
    return shares


def migrate(history: pd.DataFrame, *, min_group: int) -> Migration:
    """Aggregates of a history.

    Parameters
    ----------
    history : DataFrame
        `places_in` of its columns, a row per customer and date of two or more; the names of segments are those of the
        last date.
    """
    customers, _ = pd.factorize(history.customer_id)
    dates = sorted(history.as_of.unique())
    places = customers, pd.Index(dates).get_indexer(pd.Index(history.as_of))
    facets = segment_columns_in(history.columns)
    all_placed = [_placed(history, name, places, is_facet=name in facets) for name in (*facets, *ORDERS)]
    stage, tier = (next(one for one in all_placed if one.name == name) for name in ("lifecycle_stage", "value_tier"))
    moves: list[Row] = []
    steps: list[Row] = []
    stayed: list[Row] = []
    lost: list[Row] = []
    for placed in all_placed:
        for start, end in _spans(len(dates)):
            when = {"segmentation": placed.name, "from_as_of": dates[start], "to_as_of": dates[end]}
            counts = move_counts(placed.codes[:, start], placed.codes[:, end], len(placed.groups))
            shown, hidden = hide_small(counts, min_group)
            moves += [when | row for row in _move_rows(shown, hidden, placed)]
            steps.append(when | _step(shown, hidden, placed))
        moments = np.array([(date - dates[0]) / pd.Timedelta(days=1) for date in dates])
        stayed += _stay_rows(placed, moments, min_group)
        lost += _lost_rows(placed, stage, tier, min_group)
    columns = ["stayed_count", "moved_count", "up_count", "down_count", "new_count", "hidden_count"]
    return Migration(
        {placed.name: {one: placed.names[one] for one in [*placed.groups, UNSEEN]} for placed in all_placed},
        pd.DataFrame(moves),
        pd.DataFrame(steps).astype(dict.fromkeys(columns, "Int64")),
        pd.DataFrame(stayed, columns=["segmentation", "group", "name", *STAY_COLUMNS]),
        pd.DataFrame(lost, columns=["segmentation", "group", "name", "before_count", "standing_count"]),
    )


STAY_COLUMNS = ("stay_count", "median_days", "mean_days", "longest_days")


def _spans(n_dates: int) -> list[tuple[int, int]]:
    whole = [(0, n_dates - 1)] if n_dates > 2 else []
    return [*pairwise(range(n_dates)), *whole]


def _placed(history: pd.DataFrame, name: str, places: tuple[Ints, Ints], *, is_facet: bool) -> _Placed:
    column = history[f"{name}_id" if is_facet else name].astype(object)
    column = column.where(column.notna(), NO_ORDER)
    found, order = column.unique(), ORDERS.get(name, ())
    groups = [one for one in order if one in found] + sorted(set(found) - set(order))
    codes = np.full((places[0].max() + 1, places[1].max() + 1), UNKNOWN)
    codes[places] = pd.Index(groups).get_indexer(pd.Index(column))
    names = {group: group.replace("_", " ") for group in groups}
    if is_facet:
        latest = history.sort_values("as_of", kind="stable").drop_duplicates(f"{name}_id", keep="last")
        names = dict(zip(latest[f"{name}_id"], latest[name], strict=True))
        # The largest first, as no order is known.
        groups = sorted(groups, key=lambda one: (one.startswith(STANDING), -(column == one).sum(), one))
        codes[places] = pd.Index(groups).get_indexer(pd.Index(column))
    return _Placed(name, groups, names | {NO_ORDER: "no order", UNSEEN: "not known"}, codes)


def _move_rows(shown: Ints, hidden: int, placed: _Placed) -> Iterator[Row]:
    groups = [*placed.groups, UNSEEN]
    for origin, destination in zip(*np.nonzero(shown), strict=True):
        ends = {"from": groups[origin], "to": groups[destination]}
        yield {
            **{f"{end}_group": group for end, group in ends.items()},
            **{f"{end}_name": placed.names[group] for end, group in ends.items()},
            "customer_count": int(shown[origin, destination]),
        }
    if hidden:
        yield dict.fromkeys(("from_group", "to_group", "from_name", "to_name")) | {"customer_count": hidden}


def _step(shown: Ints, hidden: int, placed: _Placed) -> Row:
    size = len(placed.groups)
    stayed = int(np.trace(shown))
    up, down = directions(shown, placed.ranks) if placed.name in ORDERS else (None, None)
    moved = int(shown[:size, :size].sum()) - stayed
    counts: Row = {"stayed_count": stayed, "moved_count": moved, "up_count": up, "down_count": down}
    return counts | {"new_count": int(shown[size].sum()), "hidden_count": hidden}


def _stay_rows(placed: _Placed, moments: Floats, min_group: int) -> Iterator[Row]:
    seen = stays(placed.codes, moments)
    for code, group in enumerate(placed.groups):
        mine = seen.group == code
        if mine.sum() < min_group:
            continue
        lengths = stay_length(seen.days[mine], seen.is_over[mine])
        yield {
            **{"segmentation": placed.name, "group": group, "name": placed.names[group]},
            **dict(zip(STAY_COLUMNS, (int(mine.sum()), *lengths), strict=True)),
        }


def _lost_rows(placed: _Placed, stage: _Placed, tier: _Placed, min_group: int) -> Iterator[Row]:
    gone = [stage.groups.index(one) for one in GONE if one in stage.groups]
    if not gone:
        return
    has_bought = np.isin(tier.codes, [code for code, group in enumerate(tier.groups) if group != NO_ORDER]).any(axis=1)
    who = has_bought if has_bought.any() else ~has_bought
    leaving = [stage.groups.index(one) for one in LEAVING if one in stage.groups]
    both = before_lost(
        placed.codes[who],
        is_lost=np.isin(stage.codes[who], gone),
        is_leaving=np.isin(stage.codes[who], leaving),
        n_groups=len(placed.groups),
    )
    if both[0].sum() < min_group:
        return
    shown, hidden = zip(*(hide_small(counts, min_group) for counts in both), strict=True)
    for code, group in enumerate([*placed.groups, UNSEEN]):
        counts = {"before_count": int(shown[0][code]), "standing_count": int(shown[1][code])}
        if any(counts.values()):
            yield {"segmentation": placed.name, "group": group, "name": placed.names[group], **counts}
    if any(hidden):
        counts = {"before_count": hidden[0], "standing_count": hidden[1]}
        yield {"segmentation": placed.name, "group": None, "name": None, **counts}
