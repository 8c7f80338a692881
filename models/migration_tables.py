"""Groups of customers at several dates -> aggregate tables: moves, length of stay, and origin of lost customers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from models.disclosure import (
    EXTREME_MARGIN,
    is_few,
    rounded_count,
    rounded_extreme,
    rounded_share,
    rounding_step,
)
from models.identity import RULE_GROUP_PREFIX
from models.migration import UNKNOWN, Floats, Ints, before_lost, directions, hide_small, move_counts, stay_length, stays

NO_ORDER, UNKNOWN_GROUP = "(no order)", "(unknown)"
GROUP_ORDER: dict[str, tuple[str, ...]] = {
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
"""Segmentation -> its groups, best first; a group that is not listed is neither above nor below another."""
LOST_STAGES = ("lost", "inactive")
LEAVING_STAGES = ("slipping", "lapsed", *LOST_STAGES)


def segment_name_columns(columns: Iterable[str]) -> list[str]:
    """Columns that hold segment names, one per facet: segment, interest_segment."""
    ids = [name for name in columns if name.endswith("segment_id") and not name.startswith("next_")]
    return [name.removesuffix("_id") for name in ids]


def segmentation_columns(columns: Iterable[str]) -> list[str]:
    """Columns of scores, and of a history, that hold a customer's groups."""
    facets = [name for segment in segment_name_columns(columns) for name in (f"{segment}_id", segment)]
    return ["customer_id", "as_of", *facets, *GROUP_ORDER]


Row = dict[str, object]


@dataclass(frozen=True)
class Migration:
    """Aggregate tables of moves; cells of fewer than ``naming.min_group`` customers are hidden, others are rounded.

    Attributes
    ----------
    groups : dict
        Segmentation -> group -> display name, in order.
    moves : DataFrame
        segmentation, from_as_of, to_as_of, from_group, from_name, to_group, to_name, customer_count: from each date to
        the next, and from the first to the last. A row without groups holds the customers of all hidden cells, so the
        rows of two dates add up to all customers, except for rounding.
    steps : DataFrame
        segmentation, from_as_of, to_as_of, then counts of customers over the shown cells: stayed_count, moved_count,
        up_count, down_count (null if the groups have no order), new_count (unknown at the first of the two dates); and
        hidden_count.
    stays : DataFrame
        segmentation, group, name, stay_count, median_days, mean_days, longest_days: stays with an observed start, by
        Kaplan and Meier.
    lost : DataFrame
        segmentation, group, name, before_count, last_stable_count: buyers who became lost (all customers if there are
        no buyers), by their group at the date before, and at the last date at which they were not slipping, lapsed or
        lost. A row without a group holds the hidden customers.
    """

    groups: dict[str, dict[str, str]]
    moves: pd.DataFrame
    steps: pd.DataFrame
    stays: pd.DataFrame
    lost: pd.DataFrame

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables by name."""
        return {name: getattr(self, name) for name in ("moves", "steps", "stays", "lost")}


@dataclass(frozen=True)
class Placement:
    """One segmentation: its groups, their display names, and the group code of each customer at each date."""

    name: str
    groups: list[str]
    names: dict[str, str]
    codes: Ints

    @property
    def ranks(self) -> list[int | None]:
        """Rank of each group: higher is better; None if the group is not ordered."""
        order = GROUP_ORDER.get(self.name, ())
        return [-order.index(group) if group in order else None for group in self.groups]


def stage_moves(before: pd.DataFrame, now: pd.DataFrame, *, since: str, min_group: int) -> dict[str, object] | None:
    """Customers by lifecycle stage at an earlier moment and now, for the report; None if none were known then.

    Parameters
    ----------
    before, now : DataFrame
        customer_id, lifecycle_stage: profiles. Customers who are not in both are left out.
    since : str
        The earlier moment, as shown in the report.
    """
    known = before[["customer_id", "lifecycle_stage"]].merge(now[["customer_id", "lifecycle_stage"]], on="customer_id")
    groups = pd.Index(GROUP_ORDER["lifecycle_stage"])
    then_codes, now_codes = (
        groups.get_indexer(pd.Index(known[f"lifecycle_stage_{side}"])).astype(np.int64) for side in "xy"
    )
    shown, _ = hide_small(move_counts(then_codes, now_codes, len(groups))[:-1, :-1], min_group)
    if not shown.any():
        return None
    kept = np.flatnonzero(shown.any(axis=0) | shown.any(axis=1))
    return {
        "since": since,
        "customer_count": rounded_count(len(known), min_group),
        "stayed_share": rounded_share((then_codes == now_codes).sum(), len(known), min_group),
        "groups": groups[kept].tolist(),
        "rows": shown[np.ix_(kept, kept)].tolist(),
    }


def stayed_shares(before: pd.DataFrame, now: pd.DataFrame, *, min_group: int) -> dict[str, float]:
    """Share of each segment's customers at an earlier moment who are still in it now.

    Small segments have no share. If fewer than ``min_group`` customers, but at least one, stayed or left, the share is
    omitted, or rounded if it is almost 0 or 1.

    Parameters
    ----------
    before, now : DataFrame
        customer_id, segment_id; a customer who is missing from ``now`` has left the segment.
    """
    known = before.merge(now, on="customer_id", how="left", suffixes=("_then", "_now"))
    has_stayed = known.segment_id_then == known.segment_id_now
    shares: dict[str, float] = {}
    for segment_id, stayed in has_stayed.groupby(known.segment_id_then):
        count, size = int(stayed.sum()), len(stayed)
        is_disclosive = is_few([count, size - count], min_group).any()
        shown = rounded_extreme(count / size) if is_disclosive else rounded_share(count, size, min_group)
        if shown is not None and len(stayed) >= min_group:
            shares[str(segment_id)] = shown
    return shares


def net_flows(before: pd.DataFrame, now: pd.DataFrame, *, min_group: int) -> dict[str, float]:
    """Customers who came from other segments less those who went to others, as a share of those in it before.

    Only customers known at both moments count, so that all gains and losses add up to nothing. A segment of fewer than
    ``min_group`` customers has no net flow. If fewer, but at least one, came or went, the flow is omitted, or rounded
    to 0 if it is almost that.

    Parameters
    ----------
    before, now : DataFrame
        customer_id, segment_id.
    """
    known = before.merge(now, on="customer_id", suffixes=("_then", "_now"))
    moved = known[known.segment_id_then != known.segment_id_now]
    sizes, gone, come = (
        column.value_counts() for column in (known.segment_id_then, moved.segment_id_then, moved.segment_id_now)
    )
    flows: dict[str, float] = {}
    for segment_id, size in sizes.items():
        parts = int(come.get(segment_id, 0)), int(gone.get(segment_id, 0))
        flow = (parts[0] - parts[1]) / int(size)
        is_disclosive = is_few(parts, min_group).any()
        if size >= min_group and not (is_disclosive and abs(flow) >= EXTREME_MARGIN):
            rounded = rounded_share(parts[0], size, min_group) - rounded_share(parts[1], size, min_group)
            flows[str(segment_id)] = 0.0 if is_disclosive else rounded
    return flows


def summarise_migration(history: pd.DataFrame, *, min_group: int) -> Migration:
    """Summarise a history as aggregate tables.

    Parameters
    ----------
    history : DataFrame
        The columns `segmentation_columns`; one row per customer and date, with at least two dates. Segments have their
        names of the last date.
    """
    customers, _ = pd.factorize(history.customer_id)
    dates = sorted(history.as_of.unique())
    cells = customers, pd.Index(dates).get_indexer(pd.Index(history.as_of))
    facets = segment_name_columns(history.columns)
    placements = [_placement(history, name, cells, is_facet=name in facets) for name in (*facets, *GROUP_ORDER)]
    by_name = {placement.name: placement for placement in placements}
    stage, tier = by_name["lifecycle_stage"], by_name["value_tier"]
    moves: list[Row] = []
    steps: list[Row] = []
    stayed: list[Row] = []
    lost: list[Row] = []
    for placement in placements:
        for start, end in _spans(len(dates)):
            span = {"segmentation": placement.name, "from_as_of": dates[start], "to_as_of": dates[end]}
            counts = move_counts(placement.codes[:, start], placement.codes[:, end], len(placement.groups))
            shown, hidden = hide_small(counts, min_group)
            moves += [span | row for row in _move_rows(shown, hidden, placement)]
            steps.append(span | _step(shown, hidden, placement))
        moments = np.array([(date - dates[0]) / pd.Timedelta(days=1) for date in dates])
        stayed += _stay_rows(placement, moments, min_group)
        lost += _lost_rows(placement, stage, tier, min_group)
    columns = ["stayed_count", "moved_count", "up_count", "down_count", "new_count", "hidden_count"]
    return Migration(
        {
            placement.name: {group: placement.names[group] for group in [*placement.groups, UNKNOWN_GROUP]}
            for placement in placements
        },
        pd.DataFrame(moves),
        pd.DataFrame(steps).astype(dict.fromkeys(columns, "Int64")),
        pd.DataFrame(stayed, columns=["segmentation", "group", "name", *STAY_COLUMNS]),
        pd.DataFrame(lost, columns=["segmentation", "group", "name", "before_count", "last_stable_count"]),
    )


STAY_COLUMNS = ("stay_count", "median_days", "mean_days", "longest_days")


def _spans(n_dates: int) -> list[tuple[int, int]]:
    whole = [(0, n_dates - 1)] if n_dates > 2 else []
    return [*pairwise(range(n_dates)), *whole]


def _placement(history: pd.DataFrame, name: str, cells: tuple[Ints, Ints], *, is_facet: bool) -> Placement:
    column = history[f"{name}_id" if is_facet else name].astype(object)
    column = column.where(column.notna(), NO_ORDER)
    present, order = column.unique(), GROUP_ORDER.get(name, ())
    groups = [group for group in order if group in present] + sorted(set(present) - set(order))
    codes = np.full((cells[0].max() + 1, cells[1].max() + 1), UNKNOWN)
    codes[cells] = pd.Index(groups).get_indexer(pd.Index(column))
    names = {group: group.replace("_", " ") for group in groups}
    if is_facet:
        latest = history.sort_values("as_of", kind="stable").drop_duplicates(f"{name}_id", keep="last")
        names = dict(zip(latest[f"{name}_id"], latest[name], strict=True))
        # Segments have no order, so the largest come first.
        groups = sorted(
            groups, key=lambda group: (group.startswith(RULE_GROUP_PREFIX), -(column == group).sum(), group)
        )
        codes[cells] = pd.Index(groups).get_indexer(pd.Index(column))
    return Placement(name, groups, names | {NO_ORDER: "no order", UNKNOWN_GROUP: "not known"}, codes)


def _move_rows(shown: Ints, hidden: int, placement: Placement) -> Iterator[Row]:
    groups = [*placement.groups, UNKNOWN_GROUP]
    for origin, destination in zip(*np.nonzero(shown), strict=True):
        ends = {"from": groups[origin], "to": groups[destination]}
        yield {
            **{f"{end}_group": group for end, group in ends.items()},
            **{f"{end}_name": placement.names[group] for end, group in ends.items()},
            "customer_count": int(shown[origin, destination]),
        }
    if hidden:
        yield dict.fromkeys(("from_group", "to_group", "from_name", "to_name")) | {"customer_count": hidden}


def _step(shown: Ints, hidden: int, placement: Placement) -> Row:
    size = len(placement.groups)
    stayed = int(np.trace(shown))
    up, down = directions(shown, placement.ranks) if placement.name in GROUP_ORDER else (None, None)
    moved = int(shown[:size, :size].sum()) - stayed
    counts: Row = {"stayed_count": stayed, "moved_count": moved, "up_count": up, "down_count": down}
    return counts | {"new_count": int(shown[size].sum()), "hidden_count": hidden}


def _stay_rows(placement: Placement, moments: Floats, min_group: int) -> Iterator[Row]:
    observed = stays(placement.codes, moments)
    for code, group in enumerate(placement.groups):
        in_group = observed.group == code
        if in_group.sum() < min_group:
            continue
        median, mean, longest = stay_length(observed.days[in_group], observed.is_over[in_group])
        count = int(in_group.sum())
        if min_group > 1:  # a mean that one stay cannot change by more than half a step
            step = float(rounding_step(2.0 * longest / count))
            mean = min(round(mean / step) * step, longest)
        yield {
            **{"segmentation": placement.name, "group": group, "name": placement.names[group]},
            **dict(zip(STAY_COLUMNS, (rounded_count(count, min_group), median, mean, longest), strict=True)),
        }


def _lost_rows(placement: Placement, stage: Placement, tier: Placement, min_group: int) -> Iterator[Row]:
    lost = [stage.groups.index(name) for name in LOST_STAGES if name in stage.groups]
    if not lost:
        return
    has_bought = np.isin(tier.codes, [code for code, group in enumerate(tier.groups) if group != NO_ORDER]).any(axis=1)
    is_counted = has_bought if has_bought.any() else ~has_bought
    leaving = [stage.groups.index(name) for name in LEAVING_STAGES if name in stage.groups]
    both = before_lost(
        placement.codes[is_counted],
        is_lost=np.isin(stage.codes[is_counted], lost),
        is_leaving=np.isin(stage.codes[is_counted], leaving),
        n_groups=len(placement.groups),
    )
    if both[0].sum() < min_group:
        return
    shown, hidden = zip(*(hide_small(counts, min_group) for counts in both), strict=True)
    for code, group in enumerate([*placement.groups, UNKNOWN_GROUP]):
        counts = {"before_count": int(shown[0][code]), "last_stable_count": int(shown[1][code])}
        if any(counts.values()):
            yield {"segmentation": placement.name, "group": group, "name": placement.names[group], **counts}
    if any(hidden):
        counts = {"before_count": hidden[0], "last_stable_count": hidden[1]}
        yield {"segmentation": placement.name, "group": None, "name": None, **counts}
