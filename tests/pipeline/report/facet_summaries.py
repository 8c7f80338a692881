"""A summary of two facets for tests of the report: counts by hand, with hidden cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.naming import LANGUAGES

COUNTS = [[80, 20, None], [20, 80, 0], [0, 0, 5_000], [0, 0, 0]]
"""VIP, Browsers, Passers-by and Silent by Cats, Dogs and unknown: among those clustered, 50 in each cell by chance."""


def interest_segment(made: Mapping[str, Any], segment_id: str, name: str, **changes: Any) -> dict[str, Any]:
    """A segment of the facet of interests, from one of behaviour."""
    label = name.split(" & ", maxsplit=1)[0]
    proof = {"figure": f"interest: {label}", "value": 0.52, "shop": 0.06, "customer_count": 90, "first_share": 0.81}
    liked = {"category": f"Pets > {label}", "label": label, "share": 0.52, "lift": 8.7, "lift_low": 8.0}
    return {
        **made,
        **{"facet": "interest", "segment_id": segment_id, "name": name, "names": dict.fromkeys(LANGUAGES, name)},
        **{"evidence": [{**proof, "condition": {}}], "top_categories": [{**liked, "customer_count": 90}]},
        **{"archetype": None, "stages": [], "is_standing": segment_id.startswith("standing-"), "avoid": {}},
        **changes,
    }


def quality(**changes: Any) -> dict[str, Any]:
    """Of one facet."""
    return {
        **{"algorithm": "kmeans", "n_segments": 2, "stability": 0.8, "silhouette": 0.4, "rules_fidelity": 0.8},
        **{"candidates": [], "noise_share": 0.0, "choice_reason": ""},
        **changes,
    }


def candidate(algorithm: str, n_segments: int, **changes: Any) -> dict[str, Any]:
    """A setting that was tried."""
    figures = {"separation": 0.1, "stable_share": 0.7, "buys_auc": None}
    return {"algorithm": algorithm, "n_segments": n_segments, **figures, **changes}


def with_interests(told: dict[str, Any], *segments: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A summary of behaviour alone, with interest segments, `COUNTS` of the first four and three of each."""
    own = [{**one, "facet": "behaviour"} for one in told["segments"]]
    shop = {"spend_per_customer": 100.0, "buyer_share": 0.25}
    found = {
        **{"facets": ["behaviour", "interest"], "rows": [one["segment_id"] for one in own[:4]]},
        **{"columns": [one["segment_id"] for one in segments[:3]], "counts": COUNTS[: len(own)]},
    }
    found["spend_shares"] = [[None if one is None else one / 1000 for one in row] for row in found["counts"]]
    found["lifts"] = [[None if one is None else 7.7 for one in row] for row in found["counts"]]
    facets = [
        {"name": "behaviour", "names": "archetypes", "quality": told["quality"], "shop": told["shop"]},
        {"name": "interest", "names": "interests", "quality": quality(**changes), "shop": shop},
    ]
    more = {"clustered_count": 200, "min_events": 3, "min_evidence": 2.0, "noise_policy": "keep"}
    lifts = {"i01": 8.7, "i02": 0.3}
    interests = [
        {"category": "Pets > Cats", "label": "Cats", "lifts": lifts},
        {"category": "Pets > Dogs", "label": "Dogs", "lifts": {"i01": 1.2, "i02": 9.1}},
    ]
    return told | {
        "segments": [*own, *segments],
        "facets": [{**one, **more} for one in facets],
        "crossing": found,
        "interests": interests,
    }
