"""The section of each facet, as texts and shapes for the templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report.pages import drawings
from pipeline.report.pages.facet_table import MIN_MAP_LIFT
from pipeline.report.pages.segment_table import SegmentTable, segment_table
from pipeline.report.pages.shapes import Grid
from pipeline.report.parts.quality import Candidate, Quality
from pipeline.report.parts.segment import Segment
from pipeline.report.summary import CategoryLifts, FacetSummary, HeatMap, Method, Summary
from pipeline.report.texts.trends import segments_headline
from pipeline.report.texts.wording import Wording


@dataclass(frozen=True)
class FacetSection:
    """A facet in the report.

    Attributes
    ----------
    key : str
        Anchor of the section.
    segments, clustered, rule_based : sequence of Segment
        All of the facet, and its two kinds.
    headline : str
        Which segments gained and lost most; may be empty.
    map : Grid or None
        Its interests; None if no segment has a clear one, because the map would be empty.
    no_difference : sequence of str
        Categories left out of the map.
    choice : str
        Why the clustering was chosen.
    """

    summary: FacetSummary
    key: str
    title: str
    heading: str
    segments: Sequence[Segment]
    clustered: Sequence[Segment]
    rule_based: Sequence[Segment]
    table: SegmentTable
    headline: str
    map: Grid | None
    no_difference: Sequence[str]
    choice: str

    @property
    def by_interest(self) -> bool:
        """Whether its segments are named by interests."""
        return self.summary.is_by_interest


def facet_sections(summary: Summary, words: Wording) -> list[FacetSection]:
    """The sections of all facets."""
    return [
        _section(facet, summary, words, key=facet.name if place else "segments")
        for place, facet in enumerate(summary.facets)
    ]


def _section(facet: FacetSummary, summary: Summary, words: Wording, *, key: str) -> FacetSection:
    segments = summary.of_facet(facet.name)
    clustered = [segment for segment in segments if not segment.is_standing]
    lifts = _lifts(facet, clustered, summary)
    return FacetSection(
        summary=facet,
        key=key,
        title=words.facet(facet.name),
        heading="section.interest" if facet.is_by_interest else "section.segments",
        segments=segments,
        clustered=clustered,
        rule_based=[segment for segment in segments if segment.is_standing],
        table=segment_table(segments, summary, words),
        headline=segments_headline(segments, words),
        map=_map(facet, clustered, lifts, words, is_alone=len(summary.facets) < 2),
        no_difference=drawings.no_difference(lifts, words),
        choice=_choice(facet.quality, summary.method, words, by_interest=facet.is_by_interest),
    )


def _lifts(facet: FacetSummary, clustered: Sequence[Segment], summary: Summary) -> HeatMap:
    if not facet.is_by_interest:
        return summary.heat_map
    return _above_average([segment.segment_id for segment in clustered if not segment.is_small], summary.interests)


def _map(
    facet: FacetSummary, clustered: Sequence[Segment], lifts: HeatMap, words: Wording, *, is_alone: bool
) -> Grid | None:
    """Categories by segments; None if no segment has a clear interest, because the map would be empty."""
    values = [lift for row in lifts.lifts for lift in row if lift is not None]
    if len(lifts.categories) < 2 or max(values, default=0.0) < MIN_MAP_LIFT:
        return None
    shown = {segment.segment_id: words.name(segment) for segment in clustered if not segment.is_small}
    title = words("interest_map.title")
    return drawings.interest_map(
        lifts, shown, words, title=title if is_alone else f"{title} ({words.facet(facet.name)})"
    )


def _above_average(segment_ids: Sequence[str], interests: Sequence[CategoryLifts]) -> HeatMap:
    """As ``heat_map`` of the summary, for interest segments: their above-average interests, in the order of segments.

    An interest segment is below average in nearly every other category; showing that would only fill the map.
    """
    above = {
        interest.label: [lift if (lift := interest.lifts.get(name)) and lift >= 1.0 else None for name in segment_ids]
        for interest in interests
    }

    def position(label: str) -> tuple[int, float]:
        best = max(range(len(segment_ids)), key=lambda index: above[label][index] or 0.0)
        return best, -(above[label][best] or 0.0)

    order = sorted(above, key=position) if segment_ids else []
    return HeatMap(
        segment_ids=list(segment_ids),
        categories=order,
        lifts=[list(row) for row in zip(*(above[label] for label in order), strict=True)],
    )


def _choice(quality: Quality, method: Method, words: Wording, *, by_interest: bool) -> str:
    """Why the clustering was chosen, with its figures; empty if there was nothing to choose from."""
    candidates = quality.candidates
    if len(candidates) < 2:
        return ""
    if quality.algorithm == "rule":
        return _why_rule(candidates, method, words)
    is_predicted = any(candidate.buys_auc is not None for candidate in candidates) and not by_interest
    key = "choice_interest" if by_interest else "choice" if is_predicted else "choice_unmeasured"
    text = words(f"trust.{key}", count=len(candidates))
    setting = (quality.algorithm, quality.n_segments)
    chosen = [candidate for candidate in candidates if (candidate.algorithm, candidate.n_segments) == setting]
    # Candidates that differ only in their balance of columns cannot be distinguished here.
    if len(chosen) != 1:
        return text
    [candidate] = chosen
    taken = words(
        "trust.taken",
        segments=words.whole(candidate.n_segments),
        stable=words.number(candidate.stable_share, "share"),
        silhouette="–" if candidate.separation is None else words.fixed(candidate.separation),
    )
    return f"{text} {taken}"


def _why_rule(candidates: Sequence[Candidate], method: Method, words: Wording) -> str:
    """Which condition no clustering met; both, if each was met by some clustering."""
    clusterings = [candidate for candidate in candidates if candidate.algorithm != "rule"]
    if not clusterings:
        return ""
    separations = [candidate.separation for candidate in clusterings if candidate.separation is not None]
    separation = max(separations, default=None)
    stable = max((candidate.stable_share or 0.0) for candidate in clusterings)
    is_separated = method.min_separation is None or (separation or -1.0) >= method.min_separation
    is_stable = method.min_stable_share is None or stable >= method.min_stable_share
    suffix = "" if is_separated == is_stable else "_stable" if is_separated else "_separated"
    figures = {
        "silhouette": "–" if separation is None else words.fixed(separation),
        "stable": words.number(stable, "share"),
    }
    return words(f"trust.choice_rule{suffix}", count=len(clusterings), **figures)
