"""Counts of one scoring: customers per segment compared with training, and what the user should know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from models.disclosure import is_few, rounded_count, rounded_share
from models.scorer import facet_column
from pipeline.config.facets import Facet
from pipeline.profiles.measures import CustomerMeasures


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
        segments = {
            segment_id: replace(
                row,
                customer_count=rounded_count(row.customer_count, min_group),
                customer_share=rounded_share(row.customer_count, customer_count, min_group),
                is_small=bool(is_few(row.customer_count, min_group)),
            )
            for segment_id, row in self.segments.items()
        }
        return replace(self, segments=segments)


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
            held=self.held and replace(self.held, customer_count=rounded_count(self.held.customer_count, min_group)),
        )

    @property
    def mix_drift(self) -> float | None:
        """That of the first facet."""
        return next(iter(self.facets.values())).mix_drift


def summarise_scores(
    predicted: pd.DataFrame,
    measures: CustomerMeasures,
    facets: Sequence[Facet],
    trained_shares: Mapping[str, float],
    held: HeldCustomers | None,
) -> ScoringSummary:
    """Count customers, one row of ``predicted`` each.

    Parameters
    ----------
    trained_shares : mapping
        segment_id -> share of customers at training, for all facets; empty if unknown.
    """
    new = measures.new_categories
    return ScoringSummary(
        customer_count=len(predicted),
        low_evidence_count=int((predicted.evidence == "low").sum()),
        noise_count=int((predicted.evidence == "noise").sum()),
        border_count=int(predicted.is_border.sum()),
        movable_count=int(predicted.what_would_move.notna().sum()) if "what_would_move" in predicted else 0,
        facets={facet.name: _facet_counts(predicted, facet, trained_shares) for facet in facets},
        queries=measures.query_counts,
        new_categories=dict(zip(new.category, new.event_count.astype(int), strict=True)),
        held=held,
    )


def _facet_counts(predicted: pd.DataFrame, facet: Facet, trained: Mapping[str, float]) -> FacetCounts:
    segment_id, segment = (facet_column(name, facet.column_prefix) for name in ("segment_id", "segment"))
    counts = predicted.groupby(segment_id).size().sort_values(ascending=False, kind="stable")
    names = predicted.drop_duplicates(segment_id).set_index(segment_id)[segment].to_dict()
    segments = {
        str(key): SegmentCount(names[key], int(count), count / len(predicted), trained.get(str(key)))
        for key, count in counts.items()
    }
    # Training shares of a facet add up to 1. What is missing here belongs to segments that are empty now.
    moved = sum(abs(row.customer_share - (row.trained_share or 0.0)) for row in segments.values())
    present = sum(row.trained_share or 0.0 for row in segments.values())
    drift = (moved + max(1.0 - present, 0.0)) / 2
    return FacetCounts(segments, float(drift) if trained else None)
