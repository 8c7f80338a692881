"""How customers move from the segments of one model to those of another, when both score the same customers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypedDict

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from models.disclosure import rounded_count, rounded_share, significant
from models.identity import RULE_GROUP_PREFIX, match_segments
from models.migration import hide_small
from models.scorer import facet_column
from pipeline.config.errors import UserError
from pipeline.config.facets import facets_of
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.ingest.source import Source, read_source
from pipeline.profiles.build import build_profiles
from pipeline.profiles.shop import load_shop
from pipeline.stores import model_registry
from pipeline.stores.engines.duckdb import DuckDB
from pipeline.stores.engines.engine import Engine
from pipeline.stores.mlflow_runs import RunStore
from pipeline.stores.model_files import LoadedModel
from pipeline.stores.workspace import confined_database


class Flow(TypedDict):
    """Customers who were in one segment before and are in another, or the same, after."""

    origin: str
    destination: str
    customer_count: int


class FlowTable(TypedDict):
    """How many customers moved from each segment to each other one.

    Attributes
    ----------
    by_rule_count : int
        Customers left out because both models group them by rule.
    same : dict
        Segment after -> the same segment before.
    stayed_share : float
        Share of customers in the same segment.
    agreement : float
        Adjusted Rand index (Hubert and Arabie, 1985).
    hidden_count : int
        Flows not shown.
    flows : list of Flow
        Largest first.
    """

    customer_count: int
    by_rule_count: int
    same: dict[str, str]
    stayed_share: float
    agreement: float
    hidden_count: int
    flows: list[Flow]


class FacetFlow(FlowTable):
    """The flow in one facet."""

    facet: str


def flows(
    store: RunStore, params: Params, runs: Sequence[str], *, share_lineage: Sequence[bool], progress: Progress
) -> tuple[list[list[FacetFlow]], str | None]:
    """The `flow_table` of each facet from each run's model to the next one's, for the customers at ``params.as_of``.

    Parameters
    ----------
    share_lineage : sequence of bool, one less than runs
        Whether a run and the next share a lineage, so the same id means the same segment.

    Returns
    -------
    (list of list of FacetFlow, str or None)
        For each run and the next, a table for each facet that both have; or an empty list and the reason.
    """
    try:
        models = [f"models:/{store.model_name}/{model_registry.version_of_run(store, run)[1]}" for run in runs]
        with confined_database(params) as con:
            progress("reading and checking")
            source = read_source(con, params, rejected_path=None)
            assigned = []
            for model in models:
                progress(f"scoring with {model}")
                assigned.append(_assign(DuckDB(con), source, params, model_registry.load_model(store, model)))
    except UserError as error:
        return [], str(error)
    min_group, min_jaccard = params.naming.min_group, params.identity.min_jaccard
    pairs = zip(pairwise(assigned), share_lineage, strict=True)
    return [
        [
            FacetFlow(
                facet=str(facet),
                **flow_table(
                    before[facet], after[facet], min_group=min_group, min_jaccard=None if has_same_ids else min_jaccard
                ),
            )
            for facet in before
            if facet in after
        ]
        for (before, after), has_same_ids in pairs
    ], None


def _assign(engine: Engine, source: Source, params: Params, model: LoadedModel) -> pd.DataFrame:
    """customer_id x facet: segment_id, from profiles with the model's own columns and weights."""
    shop, trained = load_shop(model.shop_folder, params.folder)
    as_trained = trained.model_copy(update={"as_of": params.as_of})
    profiles = build_profiles(engine, source, as_trained, shop=shop, as_scored=True).table
    predicted = model.predict(profiles)
    columns = {facet.name: facet_column("segment_id", facet.column_prefix) for facet in facets_of(trained)}
    return pd.DataFrame(
        {facet: predicted[column].to_numpy(dtype=object) for facet, column in columns.items()}, profiles.customer_id
    )


def flow_table(before: pd.Series, after: pd.Series, *, min_group: int, min_jaccard: float | None = None) -> FlowTable:
    """How many customers moved from each segment to each other one; aggregates only.

    Parameters
    ----------
    before, after : Series
        customer_id -> segment_id. Customers known to only one model, or grouped by rule in both, are left out.
    min_group : int
        Flows of fewer customers are counted but not shown, and neither are those from which they could be computed. All
        figures are rounded.
    min_jaccard : float, optional
        If the ids come from different lineages: the smallest overlap at which two segments count as the same.
    """
    both = pd.concat({"origin": before, "destination": after}, axis=1, join="inner")
    is_by_rule = both.origin.str.startswith(RULE_GROUP_PREFIX) & both.destination.str.startswith(RULE_GROUP_PREFIX)
    both = both[~is_by_rule.astype(bool)]
    same = {segment_id: segment_id for segment_id in set(both.origin) & set(both.destination)}
    if min_jaccard is not None:
        rule_groups = {segment_id: segment_id for segment_id in same if segment_id.startswith(RULE_GROUP_PREFIX)}
        same = rule_groups | _matching_segments(both, min_jaccard)
    stayed, shown = both.origin == both.destination.map(same), _published_flows(both, min_group)
    order = shown.sort_values(["customer_count", "origin", "destination"], ascending=[False, True, True])
    return {
        "customer_count": rounded_count(len(both), min_group),
        "by_rule_count": rounded_count(is_by_rule.sum(), min_group),
        "same": same,
        "stayed_share": rounded_share(stayed.sum(), len(both), min_group),
        "agreement": significant(adjusted_rand_score(both.origin, both.destination)),
        "hidden_count": len(both.drop_duplicates()) - len(shown),
        "flows": [
            Flow(origin=origin, destination=destination, customer_count=int(count))
            for origin, destination, count in order.itertuples(index=False)
        ],
    }


def _published_flows(both: pd.DataFrame, min_group: int) -> pd.DataFrame:
    """origin, destination, customer_count: the flows that may be shown, rounded."""
    counts = pd.crosstab(both.origin, both.destination)
    shown, _ = hide_small(counts.to_numpy(np.int64), min_group)
    rows, columns = np.nonzero(shown)
    return pd.DataFrame(
        {
            "origin": counts.index[rows],
            "destination": counts.columns[columns],
            "customer_count": shown[rows, columns],
        }
    )


def _matching_segments(both: pd.DataFrame, min_jaccard: float) -> dict[str, str]:
    """Segment after -> segment before, for pairs that share enough customers to count as the same."""
    before = np.array([None if name.startswith(RULE_GROUP_PREFIX) else name for name in both.origin], dtype=object)
    names = sorted({name for name in both.destination if not name.startswith(RULE_GROUP_PREFIX)})
    positions = {name: position for position, name in enumerate(names)}
    match = match_segments(
        before,
        np.array([positions.get(name, -1) for name in both.destination], dtype=np.int64),
        old_ids={name for name in before if name is not None},
        used_ids=(),
        prefix="",
        min_jaccard=min_jaccard,
        min_part=1.0,
    )
    survived = {row.segment_id for row in match.transitions if row.verdict == "survived"}
    return {names[position]: segment_id for position, segment_id in match.ids.items() if segment_id in survived}
