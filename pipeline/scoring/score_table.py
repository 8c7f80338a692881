"""The table of scores: profiles in, batch by batch, and one row per customer out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from features.categories import OTHER
from features.interests import SHARE_PREFIX
from features.journey import JOURNEY_EVENTS, JOURNEY_PREFIX
from features.profile import ProfileSpec
from features.seasons import SEASON_LISTS
from models.scorer import EXPECTED_VALUE, Floats, facet_column
from models.top_categories import top_categories
from pipeline.config.facets import facets_of
from pipeline.config.params import Params
from pipeline.profiles.build import profile_expression
from pipeline.profiles.measures import CustomerMeasures
from pipeline.profiles.seasonality import expected_shares_for_batch
from pipeline.profiles.vectors import with_dense_columns
from pipeline.scoring.hysteresis import AS_OF, columns_to_keep, keep_previous_near_borders
from pipeline.stores.database import batches
from pipeline.stores.engines.engine import Engine
from pipeline.stores.model_files import LoadedModel

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

Bools = NDArray[np.bool_]
SCORED = "scored"
FROM_PROFILE = (
    "lifecycle_stage",
    "temperature",
    "rfm_group",
    "value_tier",
    "days_since_last_purchase",
    "order_count",
    "spend",
)
APPENDED_COLUMNS = (
    "usual_interval_days",
    "interval_variation",
    "holiday_order_share",
    "gift_order_share",
    "payday_order_share",
    "campaign_response",
    "click_rate",
    "next_tier",
    "next_tier_needs",
    "redemptions_per_order",
    "returned_spend",
    "activity",
    "recency_score",
    "frequency_score",
    "monetary_score",
)
"""Profile columns added to the scores later, at the end, because some readers count columns from the left."""
PREVIOUS_PREFIX = "previous: "
"""Prefix of the columns of the previous scores, next to those of the profile."""
COUNTED_COLUMNS = ("is_held", "known_evidence", "unknown_evidence")
"""Columns after those of the scores, for the counts of a scoring: whether the customer kept the previous segment, the
interest evidence, and that in categories that the model does not know."""


@dataclass(frozen=True)
class BatchScorer:
    """Scores a batch of customers; the scores of a customer do not depend on the others.

    Attributes
    ----------
    spec : ProfileSpec
    mix : float array of shape (n_slots, n_categories)
        Result of `models.seasons.period_mixes`.
    params : Params
        Params of the model, as of the scoring.
    given_names : mapping
        segment_id -> the name given by hand.
    hold_margin : float
        `score.hysteresis`; 0 if there are no previous scores.
    """

    spec: ProfileSpec
    mix: Floats
    params: Params
    model: LoadedModel
    given_names: Mapping[str, str]
    hold_margin: float = 0.0

    def __call__(self, batch: pa.RecordBatch) -> pa.Table:
        """Profiles as `profile_expression` has them, and any previous scores -> scores, and `COUNTED_COLUMNS`."""
        dense = with_dense_columns(batch, self.spec, self.params, self.profile_columns())
        profile = dense.to_pandas(split_blocks=True)
        predicted, is_held = self._predict(profile)
        evidence = profile["evidence"].fillna(0.0)
        # Copied with take, because a selected column would keep its whole batch in memory.
        kept = dense.select(["customer_id", *FROM_PROFILE, *APPENDED_COLUMNS]).take(np.arange(len(profile)))
        kept = kept.append_column("top_categories", self._top_categories(profile))
        kept = kept.append_column("journey_events", journey_events(profile))
        scores = score_table(kept, predicted, self.params, self.model)
        counted = (is_held, evidence, profile[SHARE_PREFIX + OTHER] * evidence)
        for name, values in zip(COUNTED_COLUMNS, counted, strict=True):
            scores = scores.append_column(name, pa.array(values, from_pandas=True))
        return scores

    def _predict(self, profile: pd.DataFrame) -> tuple[pd.DataFrame, Bools]:
        """The segment columns, and whether each customer kept the previous segment."""
        predicted, is_held = self.model.predict(profile), np.zeros(len(profile), dtype=bool)
        if self.hold_margin:
            before = profile[self._previous_columns()].rename(columns=lambda name: name.removeprefix(PREVIOUS_PREFIX))
            predicted, is_held = keep_previous_near_borders(predicted, before, self.prefixes, margin=self.hold_margin)
        return with_given_names(predicted, self.given_names, self.model.segment_names), is_held

    def _top_categories(self, profile: pd.DataFrame) -> pa.ListArray:
        naming = self.params.naming
        return top_categories(
            profile,
            self.spec,
            expected_shares_for_batch(profile, self.spec, self.mix, kappa=self.params.interests.kappa),
            max_count=naming.top_categories,
            min_lift=naming.min_lift,
            min_share=naming.min_interest_share,
        )

    def profile_columns(self) -> set[str]:
        """`profile_columns` of the model, and any previous scores."""
        return profile_columns(self.model, self.spec) | {*self._previous_columns()}

    @property
    def prefixes(self) -> list[str]:
        """Prefixes of the columns of each facet."""
        return [facet.column_prefix for facet in facets_of(self.params)]

    def _previous_columns(self) -> list[str]:
        return [PREVIOUS_PREFIX + name for name in columns_to_keep(self.prefixes)] if self.hold_margin else []


@dataclass(frozen=True)
class ScoredCustomers:
    """The scores of all customers, in the database of this machine.

    Attributes
    ----------
    table : expression
        One row per customer: the columns of the scores, and `COUNTED_COLUMNS`.
    schema : Schema
        Columns and types of the scores as they are written.
    """

    table: ir.Table
    schema: pa.Schema

    @property
    def scores(self) -> ir.Table:
        """The columns of the scores."""
        return self.table.select(self.schema.names)

    def in_order(self, con: Backend) -> Iterator[pa.RecordBatch]:
        """The scores, sorted by customer_id."""
        for batch in batches(con, self.scores.order_by("customer_id")):
            yield batch.cast(self.schema)

    def write_parts(self, engine: Engine, folder: Path) -> None:
        """Write the scores to a folder: sorted by customer_id, those of one file before those of the next."""
        engine.write_parts(SCORED, folder, self.schema, order_by="customer_id")


def score_customers(
    engine: Engine, measures: CustomerMeasures, scorer: BatchScorer, previous: ir.Table | None
) -> ScoredCustomers:
    """Score all customers, a batch at a time: profiles of a million customers take a gigabyte.

    Parameters
    ----------
    previous : expression, optional
        Result of `previous_scores`.
    """
    if previous is not None:
        named = previous.rename({PREVIOUS_PREFIX + name: name for name in previous.columns if name != "customer_id"})
        joined = measures.table.left_join(named, "customer_id").drop("customer_id_right")
        measures = replace(measures, table=joined)
    profiles = profile_expression(engine, measures, scorer.params, scorer.profile_columns())
    table = engine.map_batches(profiles, scorer, SCORED)
    nobody = pa.RecordBatch.from_pylist([], profiles.schema().to_pyarrow())
    schema = scorer(nobody).schema
    return ScoredCustomers(table, pa.schema([field for field in schema if field.name not in COUNTED_COLUMNS]))


def score_table(
    profiles: pa.Table | pa.RecordBatch, predicted: pd.DataFrame, params: Params, model: LoadedModel
) -> pa.Table:
    """The table of scores, with the rows in the order of ``profiles`` and ``predicted``."""
    same = pa.array(np.zeros(len(predicted), np.int64))
    # Columns of further facets come last, because some readers count columns from the left.
    prefixes = [facet.column_prefix for facet in facets_of(params) if not facet.is_first]
    names = [str(name) for name in predicted]
    further_prefixes = tuple(facet_column(start, prefix) for prefix in prefixes for start in ("", "next_", "is_"))
    first = [name for name in names if not name.startswith(further_prefixes) and name not in EXPECTED_VALUE]
    further = [name for name in names if name.startswith(further_prefixes)]

    def as_in_history(name: str) -> pa.ChunkedArray | pa.Array:
        """The string type that pandas writes, so scores and `kindred history` have the same schema."""
        column = profiles[name]
        return column.cast(pa.large_string()) if pa.types.is_string(column.type) else column

    # A model without an expected value, or of an earlier version, has no such columns; the scores always have them.
    values = predicted.reindex(columns=[*EXPECTED_VALUE]).astype(np.float64)
    columns = {
        "customer_id": as_in_history("customer_id"),
        "as_of": pa.array([params.as_of], AS_OF).take(same),
        **{name: pa.array(predicted[name], from_pandas=True) for name in first},
        **{name: as_in_history(name) for name in (*FROM_PROFILE, "top_categories")},
        "model_uri": pa.array([model.uri]).take(same),
        "run_id": pa.array([model.run_id]).take(same),
        **{name: profiles[name] for name in ("journey_events", *APPENDED_COLUMNS)},
        **{name: pa.array(values[name], from_pandas=True) for name in EXPECTED_VALUE},
        **{name: pa.array(predicted[name], from_pandas=True) for name in further},
    }
    return pa.table(columns)


def profile_columns(model: LoadedModel, spec: ProfileSpec) -> set[str]:
    """Profile columns that the model and the scores need."""
    shares = [SHARE_PREFIX + category for category in spec.cut.categories]
    events = [JOURNEY_PREFIX + name for name in JOURNEY_EVENTS]
    return {
        "customer_id",
        *SEASON_LISTS,
        "evidence",
        SHARE_PREFIX + OTHER,
        *model.columns,
        *shares,
        *events,
        *FROM_PROFILE,
        *APPENDED_COLUMNS,
    }


def journey_events(profile: pd.DataFrame) -> pa.ListArray:
    """Lists of each customer's journey events, in the order of `features.journey.JOURNEY_EVENTS`; may be empty."""
    has_event = profile[[JOURNEY_PREFIX + name for name in JOURNEY_EVENTS]].to_numpy(dtype=bool)
    offsets = np.concatenate([[0], has_event.sum(axis=1).cumsum()])
    names = pa.array(JOURNEY_EVENTS, pa.string())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), names.take(pa.array(np.nonzero(has_event)[1])))


def with_given_names(
    predicted: pd.DataFrame, names: Mapping[str, str], trained_names: Mapping[str, str]
) -> pd.DataFrame:
    """Segment columns of scores, of every facet, with the names given by hand.

    Parameters
    ----------
    names, trained_names : mapping
        segment_id -> the name given by hand, and that of the model.
    """
    if not names:
        return predicted
    changes: dict[str, Any] = {}
    new_names = {trained_names[key]: name for key, name in names.items() if key in trained_names}
    for segment_id in [str(column) for column in predicted if str(column).endswith("segment_id")]:
        segment = segment_id.removesuffix("_id")
        by_hand = predicted[segment_id].map(names)
        changes[segment] = predicted[segment].where(by_hand.isna(), by_hand)
    if "what_would_move" in predicted:
        # A move ends with the name of the segment that it leads to.
        moves = {
            text: next(
                (text.removesuffix(old) + new for old, new in new_names.items() if text.endswith(f" -> {old}")), text
            )
            for text in predicted.what_would_move.dropna().unique()
        }
        changes["what_would_move"] = predicted.what_would_move.map(moves)
    return predicted.assign(**changes).astype(predicted.dtypes.to_dict())
