"""Counts of one scoring: customers per segment compared with training, and what the user should know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir

from features.events import exact_sum
from models.disclosure import (
    is_few,
    rounded_count,
    rounded_counts,
    rounded_events,
    rounded_share,
    shares_of_whole,
)
from models.scorer import facet_column
from pipeline.config.facets import Facet
from pipeline.profiles.measures import CustomerMeasures
from pipeline.segmentation.sanity_checks import unknown_share

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend


@dataclass(frozen=True)
class SegmentCount:
    """Customers of one segment; ``trained_share`` is None if the segment or its training is unknown.

    ``is_small``: it has fewer customers than the published ``customer_count``.
    """

    name: str
    customer_count: int
    customer_share: float
    trained_share: float | None
    is_small: bool = False


@dataclass(frozen=True)
class FacetCounts:
    """Customers of each segment of a facet.

    Attributes
    ----------
    segments : dict
        segment_id -> counts, largest first.
    mix_drift : float or None
        Share of customers who would have to change segment to match the training; None if that is unknown.
    """

    segments: dict[str, SegmentCount]
    mix_drift: float | None

    def published(self, customer_count: int, min_group: int) -> FacetCounts:
        """The counts as they may be published, of ``customer_count`` customers."""
        counts = rounded_counts([row.customer_count for row in self.segments.values()], min_group)
        shares = shares_of_whole(counts, rounded_count(customer_count, min_group))
        segments = {
            segment_id: replace(
                row,
                customer_count=int(count),
                customer_share=float(share),
                is_small=bool(is_few(row.customer_count, min_group)),
            )
            for (segment_id, row), count, share in zip(self.segments.items(), counts, shares, strict=True)
        }
        moved = None if self.mix_drift is None else self.mix_drift * customer_count
        return replace(
            self,
            segments=segments,
            mix_drift=None if moved is None else rounded_share(moved, customer_count, min_group),
        )


@dataclass(frozen=True)
class HeldCustomers:
    """Customers who kept their previous segment, as the new one leads by less than ``margin``."""

    customer_count: int
    margin: float


@dataclass(frozen=True)
class ScoringSummary:
    """Counts of one scoring.

    Attributes
    ----------
    facets : dict
        Name of a facet -> its counts, the first facet first.
    border_count, movable_count : int
        Customers near a border, and those of them of whom the scores say what would move them.
    queries : dict
        Method of `models.queries.WAYS` -> number of distinct queries it interpreted.
    new_categories : dict
        Category unknown at training -> number of events.
    held : HeldCustomers or None
        None if there were no previous scores to keep to.
    unknown_share : float
        Share of the customers' interests in categories that the model does not know.
    """

    customer_count: int
    low_evidence_count: int
    noise_count: int
    border_count: int
    movable_count: int
    facets: dict[str, FacetCounts]
    queries: dict[str, int]
    new_categories: dict[str, int]
    held: HeldCustomers | None
    unknown_share: float = 0.0

    def published(self, min_group: int) -> ScoringSummary:
        """The counts as they may be published (`models.disclosure`): a terminal's text is often kept in a log."""
        return replace(
            self,
            customer_count=rounded_count(self.customer_count, min_group),
            low_evidence_count=rounded_count(self.low_evidence_count, min_group),
            noise_count=rounded_count(self.noise_count, min_group),
            border_count=rounded_count(self.border_count, min_group),
            movable_count=rounded_count(self.movable_count, min_group),
            facets={name: facet.published(self.customer_count, min_group) for name, facet in self.facets.items()},
            new_categories={
                name: int(rounded_events(count, self.customer_count, min_group))
                for name, count in self.new_categories.items()
            },
            held=self.held and replace(self.held, customer_count=rounded_count(self.held.customer_count, min_group)),
        )

    @property
    def mix_drift(self) -> float | None:
        """That of the first facet."""
        return next(iter(self.facets.values())).mix_drift


def summarise_scores(
    con: Backend,
    scored: ir.Table,
    measures: CustomerMeasures,
    facets: Sequence[Facet],
    trained_shares: Mapping[str, float],
    hold_margin: float,
) -> ScoringSummary:
    """Count customers, one row of ``scored`` each.

    Parameters
    ----------
    scored : expression
        The segment columns of the scores, and `score_table.COUNTED_COLUMNS`.
    trained_shares : mapping
        segment_id -> share of customers at training, for all facets; empty if unknown.
    hold_margin : float
        `score.hysteresis`; 0 if there were no previous scores to keep to.
    """
    new = measures.new_categories
    counts = scored.aggregate(
        customers=scored.count(),
        low=scored.count(where=scored.evidence == "low"),
        noise=scored.count(where=scored.evidence == "noise"),
        border=scored.count(where=scored.is_border),
        movable=scored.what_would_move.count() if "what_would_move" in scored.columns else ibis.literal(0),
        held=scored.count(where=scored.is_held),
        known_evidence=exact_sum(scored.known_evidence),
        unknown_evidence=exact_sum(scored.unknown_evidence),
    )
    row = con.to_pyarrow(counts).to_pylist()[0]
    return ScoringSummary(
        customer_count=row["customers"],
        low_evidence_count=row["low"],
        noise_count=row["noise"],
        border_count=row["border"],
        movable_count=row["movable"],
        facets={facet.name: _facet_counts(con, scored, facet, trained_shares) for facet in facets},
        queries=measures.query_counts,
        new_categories=dict(zip(new.category, new.event_count.astype(int), strict=True)),
        held=HeldCustomers(row["held"], hold_margin) if hold_margin else None,
        unknown_share=unknown_share(row["unknown_evidence"], row["known_evidence"]),
    )


def _facet_counts(con: Backend, scored: ir.Table, facet: Facet, trained: Mapping[str, float]) -> FacetCounts:
    segment_id, segment = (scored[facet_column(name, facet.column_prefix)] for name in ("segment_id", "segment"))
    counts = scored.group_by(segment_id=segment_id).aggregate(name=segment.min(), count=scored.count())
    rows = con.to_pyarrow(counts.order_by(ibis.desc("count"), "segment_id")).to_pylist()
    total = sum(row["count"] for row in rows)
    segments = {
        row["segment_id"]: SegmentCount(row["name"], row["count"], row["count"] / total, trained.get(row["segment_id"]))
        for row in rows
    }
    # Training shares of a facet add up to 1. What is missing here belongs to segments that are empty now.
    moved = sum(abs(row.customer_share - (row.trained_share or 0.0)) for row in segments.values())
    present = sum(row.trained_share or 0.0 for row in segments.values())
    drift = (moved + max(1.0 - present, 0.0)) / 2
    return FacetCounts(segments, float(drift) if trained else None)
