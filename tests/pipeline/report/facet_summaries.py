"""A summary of two facets for tests of the report, with known counts and hidden cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.naming import LANGUAGES
from pipeline.report.summary import Summary

COUNTS = [[80, 20, None], [20, 80, 0], [0, 0, 5_000], [0, 0, 0]]
"""VIP, Browsers, Passers-by and Silent by Cats, Dogs and unknown; chance gives 50 in each clustered cell."""


def interest_segment(made: Mapping[str, Any], segment_id: str, name: str, **changes: Any) -> dict[str, Any]:
    """An interest segment, made from a behaviour segment."""
    label = name.split(" & ", maxsplit=1)[0]
    evidence = {"figure": f"interest: {label}", "value": 0.52, "shop": 0.06, "customer_count": 90, "first_share": 0.81}
    interest = {"category": f"Pets > {label}", "label": label, "share": 0.52, "lift": 8.7, "lift_low": 8.0}
    return {
        **made,
        **{"facet": "interest", "segment_id": segment_id, "name": name, "names": dict.fromkeys(LANGUAGES, name)},
        "names_by_figures": dict.fromkeys(LANGUAGES, name),
        **{"evidence": [{**evidence, "condition": {}}], "top_categories": [{**interest, "customer_count": 90}]},
        **{"archetype": None, "stages": [], "is_standing": segment_id.startswith("standing-"), "avoid": {}},
        **changes,
    }


def quality(**changes: Any) -> dict[str, Any]:
    """The quality of one facet."""
    unmeasured = dict.fromkeys(("davies_bouldin", "calinski_harabasz", "density_validity"))
    return {
        **{"algorithm": "kmeans", "n_segments": 2, "stability": 0.8, "silhouette": 0.4, "rules_fidelity": 0.8},
        **{"candidates": [], "noise_share": 0.0, "choice_reason": "", "smallest_share": 0.5, **unmeasured},
        **changes,
    }


def candidate(algorithm: str, n_segments: int, **changes: Any) -> dict[str, Any]:
    """A candidate setting."""
    unmeasured = dict.fromkeys(("density", "silhouette", "density_validity", "buys_auc", "spend_r2", "category_auc"))
    return {
        **{"algorithm": algorithm, "n_segments": n_segments, "asked": n_segments, "balance": 0, "balance_name": ""},
        **{"stability": 0.8, "smallest_count": 9.0, "smallest_share": 0.1, "noise_share": 0.0, "named_apart": 2},
        **{"separation": 0.1, "stable_share": 0.7, **unmeasured},
        **changes,
    }


def reading(**changes: Any) -> dict[str, Any]:
    """The counts of a log."""
    return {
        **{"files": {"events": 1}, "read_count": 10, "accepted_count": 10, "rejected_count": 0, "duplicate_count": 0},
        **{"duplicates_dropped": False, "rejected_by_rule": {"negative_price": 2}, "noted_by_rule": {}},
        **{"physical_line_count": None, "event_types": {"view": 1}, "unlisted_count": 0, "other_event_types": {}},
        **{"first_event_at": "2024-11-01 00:00:00", "last_event_at": "2025-10-31 10:00:00", "customer_count": 9},
        **{"product_count": 5, "digest": "d", "warnings": []},
        **changes,
    }


def as_summary(report: dict[str, Any]) -> Summary:
    """A summary.json as `Summary`. If it has one facet, the facet's figures and quality are those of the top level."""
    facets = report["facets"]
    if len(facets) == 1:
        facets = [facets[0] | {"shop": report["shop"], "quality": _of_facet(report["quality"])}]
    return Summary.model_validate(report | {"facets": facets})


def _of_facet(quality: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in quality.items() if key not in ("notes", "validity")}


def with_interests(report: dict[str, Any], *segments: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Add interest segments to a summary of behaviour, with `COUNTS` of up to four by three segments."""
    own = [{**segment, "facet": "behaviour"} for segment in report["segments"]]
    shop = {"spend_per_customer": 100.0, "buyer_share": 0.25}
    crossing: dict[str, Any] = {
        **{"facets": ["behaviour", "interest"], "rows": [segment["segment_id"] for segment in own[:4]]},
        **{"columns": [segment["segment_id"] for segment in segments[:3]], "counts": COUNTS[: len(own)]},
    }
    counts = crossing["counts"]
    crossing["spend_shares"] = [[None if count is None else count / 1000 for count in row] for row in counts]
    facets = [
        {"name": "behaviour", "names": "archetypes", "quality": _of_facet(report["quality"]), "shop": report["shop"]},
        {"name": "interest", "names": "interests", "quality": quality(**changes), "shop": shop},
    ]
    more = {"clustered_count": 200, "min_events": 3, "min_evidence": 2.0, "noise_policy": "keep"}
    lifts = {"i01": 8.7, "i02": 0.3}
    interests = [
        {"category": "Pets > Cats", "label": "Cats", "lifts": lifts},
        {"category": "Pets > Dogs", "label": "Dogs", "lifts": {"i01": 1.2, "i02": 9.1}},
    ]
    return report | {
        "segments": [*own, *segments],
        "facets": [{**facet, **more} for facet in facets],
        "crossing": crossing,
        "interests": interests,
    }
