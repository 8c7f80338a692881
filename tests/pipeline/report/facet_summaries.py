"""A summary of two facets for tests of the report, with known counts and hidden cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.naming import LANGUAGES

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
        **{"evidence": [{**evidence, "condition": {}}], "top_categories": [{**interest, "customer_count": 90}]},
        **{"archetype": None, "stages": [], "is_standing": segment_id.startswith("standing-"), "avoid": {}},
        **changes,
    }


def quality(**changes: Any) -> dict[str, Any]:
    """The quality of one facet."""
    return {
        **{"algorithm": "kmeans", "n_segments": 2, "stability": 0.8, "silhouette": 0.4, "rules_fidelity": 0.8},
        **{"candidates": [], "noise_share": 0.0, "choice_reason": ""},
        **changes,
    }


def candidate(algorithm: str, n_segments: int, **changes: Any) -> dict[str, Any]:
    """A candidate setting."""
    figures = {"separation": 0.1, "stable_share": 0.7, "buys_auc": None}
    return {"algorithm": algorithm, "n_segments": n_segments, **figures, **changes}


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
    crossing["lifts"] = [[None if count is None else 7.7 for count in row] for row in counts]
    facets = [
        {"name": "behaviour", "names": "archetypes", "quality": report["quality"], "shop": report["shop"]},
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
