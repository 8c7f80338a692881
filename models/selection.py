"""Candidates, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TOLERANCE = 0.05


@dataclass(frozen=True)
class Candidate:
    """One setting, and what it gave.

    Attributes
    ----------
    silhouette : float or None
        -1..1; None where there is one cluster only.
    stability : float
        Mean of the segments' Jaccards, 0..1.
    smallest_share, noise_share : float
        0..1, of the customers clustered.
    """

    algorithm: str
    n_segments: int
    silhouette: float | None
    stability: float
    smallest_share: float
    noise_share: float


def choose(
    candidates: Sequence[Candidate], *, min_segment_share: float, min_stability: float, max_noise_share: float = 0.5
) -> tuple[Candidate, str]:
    """The simplest of the good candidates, and a sentence that says why.

    Good is: no segment too small, noise not the greater part, stability at least ``min_stability``. Among the good, the
    best silhouette counts, and the fewest segments within 5% of it are taken. If none is good, the most stable is.
    """
    good = [
        one
        for one in candidates
        if one.silhouette is not None
        and one.smallest_share >= min_segment_share
        and one.stability >= min_stability
        and one.noise_share <= max_noise_share
    ]
    if not good:
        chosen = max(candidates, key=lambda one: (one.stability, -one.n_segments))
        return chosen, (
            f"No candidate had every segment above {min_segment_share:.0%} of customers and a stability of "
            f"{min_stability:.2f}; {chosen.algorithm} with {chosen.n_segments} came back most surely "
            f"({chosen.stability:.2f})."
        )
    best = max(one.silhouette or 0.0 for one in good)
    near = [one for one in good if (one.silhouette or 0.0) >= best - TOLERANCE * abs(best)]
    chosen = min(near, key=lambda one: (one.n_segments, -(one.silhouette or 0.0), one.algorithm))
    return chosen, (
        f"Of {len(candidates)} candidates, {len(good)} had no segment under {min_segment_share:.0%} of customers and "
        f"came back on half-samples (stability {min_stability:.2f} or more). {chosen.algorithm} with "
        f"{chosen.n_segments} segments is the simplest within {TOLERANCE:.0%} of the best silhouette among them "
        f"({chosen.silhouette:.3f} of {best:.3f})."
    )
