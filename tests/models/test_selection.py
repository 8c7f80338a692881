from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from models.selection import Candidate, Choice, choose, scores

OUTCOMES = ["buys_auc", "spend_r2", "category_auc"]


def candidate(count: int, buys: float | None, **changes: Any) -> Candidate:
    given: dict[str, Any] = {
        **{"algorithm": "kmeans", "asked": count, "density": None, "balance": 0, "balance_name": "blocks as given"},
        **{
            "n_segments": count,
            "silhouette": 0.2,
            "density_validity": None,
            "stability": 0.9,
            "stable_share": 0.95,
            "named_apart": count,
        },
        **{"smallest_count": 100.0, "smallest_share": 0.1, "noise_share": 0.0, "buys_auc": buys},
    }
    return Candidate(**{**given, **changes})


def made(*candidates: Candidate, tolerance: float = 0.05) -> Choice:
    found = choose(
        candidates,
        chosen_by=OUTCOMES,
        tolerance=tolerance,
        min_customers=10,
        min_segment_share=0.01,
        min_stable_share=0.9,
    )
    assert found is not None
    return found


def pick(*candidates: Candidate) -> int:
    return made(*candidates).chosen.n_segments


def test_scores_by_hand() -> None:
    offered = [
        candidate(4, 0.6, spend_r2=0.1, category_auc=0.5),
        candidate(8, 0.7, spend_r2=0.4, category_auc=0.45),
        candidate(12, 0.8, spend_r2=0.2, category_auc=None),
    ]
    # Gains .1, .2, .3 and .1, .4, .2; in categories none is above chance, so that they say nothing.
    assert scores(offered, OUTCOMES) == pytest.approx([(1 / 3 + 1 / 4) / 2, (2 / 3 + 1) / 2, (1 + 1 / 2) / 2])


def test_without_outcomes_the_silhouette_counts() -> None:
    unjudged = [candidate(4, None, silhouette=-0.1), candidate(8, None, silhouette=None)]
    assert scores(unjudged, OUTCOMES) == [-0.1, -1.0]
    assert pick(candidate(8, None, silhouette=0.285), candidate(10, None, silhouette=0.3)) == 8
    assert pick(candidate(8, None, silhouette=0.284), candidate(10, None, silhouette=0.3)) == 10
    assert pick(candidate(8, None, silhouette=-0.2), candidate(10, None, silhouette=-0.1)) == 10


def test_the_simplest_within_the_tolerance_of_the_best() -> None:
    assert pick(candidate(8, 0.796), candidate(10, 0.8)) == 8
    assert pick(candidate(8, 0.784), candidate(10, 0.8)) == 10
    both = candidate(8, 0.8, balance=1, balance_name="value 2"), candidate(8, 0.799)
    assert made(*both).chosen.balance == 0  # the balance given stays within the tolerance ...
    assert made(both[0], replace(both[1], buys_auc=0.75)).chosen.balance == 1  # ... and not beyond it
    others = candidate(8, 0.8, balance=2), candidate(8, 0.799, balance=1)
    assert made(*others).chosen.balance == 2  # of other balances the one that predicts more
    # The balance is decided by the best candidate of each, and the number of segments within it.
    fewer = candidate(6, 0.799, balance=1), candidate(6, 0.7), candidate(12, 0.79)
    assert (made(*fewer).chosen.balance, made(*fewer).chosen.n_segments) == (0, 12)
    dense = candidate(4, 0.8, algorithm="hdbscan", asked=None, density=0.02)
    assert made(dense, candidate(8, 0.8)).chosen.algorithm == "kmeans"


def test_tiny_noisy_unstable_and_single_are_not_good() -> None:
    good = candidate(12, 0.6)
    assert pick(good, candidate(4, 0.9, stable_share=0.89)) == 12
    assert pick(good, candidate(4, 0.9, smallest_share=0.009)) == 12
    assert pick(good, candidate(4, 0.9, smallest_count=9.0)) == 12
    assert pick(good, candidate(4, 0.9, noise_share=0.51)) == 12
    assert pick(good, candidate(1, 0.9)) == 12


def test_stability_and_share_are_let_go_in_turn_and_said_but_not_customers() -> None:
    shaky = candidate(6, 0.9, stable_share=0.4), candidate(8, 0.7, stable_share=0.5)
    nearest = made(candidate(4, 0.9, smallest_share=0.001), *shaky)
    assert nearest.chosen.n_segments == 8
    assert "and 50% of their customers in segments that come back on resamples" in nearest.reason
    assert "None had 90% of them there (sweep.min_stable_share)." in nearest.reason
    small = made(candidate(4, 0.9, smallest_share=0.001), candidate(8, 0.95, smallest_count=9.0))
    assert small.chosen.n_segments == 4 and "None had all segments large" in small.reason
    alone = [candidate(4, 0.9, smallest_count=9.0), candidate(1, 0.9)]
    assert (
        choose(alone, chosen_by=OUTCOMES, tolerance=0.1, min_customers=10, min_segment_share=0.0, min_stable_share=0.0)
        is None
    )


def test_the_reason_says_what_was_counted_and_foretold() -> None:
    offered = [candidate(4, 0.6), candidate(6, 0.798), candidate(8, 0.8), candidate(12, 0.9, stable_share=0.3)]
    found = made(*offered)
    assert found.reason.startswith(
        "Of 4 candidates, 3 had no segment under 10 customers or 1% of them, and 90% of their customers in segments that"
    )
    assert "is kmeans, 6 segments, blocks as given; the best is kmeans, 8 segments" in found.reason
    assert "who buys 0.798 compared with 0.800" in found.reason


def test_a_best_at_the_edge_of_the_grid_is_told() -> None:
    assert made(candidate(4, 0.6), candidate(6, 0.8), candidate(8, 0.7)).notes == ()
    (note,) = made(candidate(4, 0.6), candidate(6, 0.7), candidate(8, 0.8)).notes
    assert "at the highest of try_n_segments: higher ones may be better" in note
    (note,) = made(candidate(4, 0.8), candidate(6, 0.7)).notes
    assert "at the lowest of try_n_segments" in note
    assert made(candidate(4, 0.8)).notes == ()
    (note,) = made(candidate(4, 0.799), candidate(6, 0.8), candidate(8, 0.7)).notes
    assert note == "The candidate taken has the fewest of try_n_segments (4): fewer may do as well."
    dense = [candidate(n, 0.7, algorithm="hdbscan", asked=None, density=one) for n, one in ((5, 0.05), (9, 0.02))]
    (note,) = made(*dense).notes
    assert "at the highest of try_min_cluster_share" in note


def interests(count: int, silhouette: float, **changes: Any) -> Candidate:
    return candidate(count, None, silhouette=silhouette, **changes)


def chosen_by_separation(*candidates: Candidate) -> Choice | None:
    return choose(
        candidates,
        chosen_by=["category_auc", "stable_share", "separation"],
        tolerance=0.02,
        min_customers=10,
        min_segment_share=0.01,
        min_stable_share=0.9,
        min_separation=0.25,
    )


def test_groups_that_part_clearly_are_taken_and_noise_parts_nothing() -> None:
    found = chosen_by_separation(interests(8, 0.3), interests(14, 0.5), interests(20, 0.4))
    assert found is not None and found.chosen.n_segments == 14
    dense = interests(14, 0.6, noise_share=0.5, algorithm="hdbscan", asked=None, density=0.02)
    assert dense.separation == pytest.approx(0.3)
    found = chosen_by_separation(interests(12, 0.5), dense)
    assert found is not None and found.chosen.algorithm == "kmeans"


def test_a_continuum_has_no_choice() -> None:
    assert chosen_by_separation(interests(4, 0.24), interests(8, 0.1)) is None
    assert chosen_by_separation(interests(4, 0.4, stable_share=0.8)) is None  # and stability is not let go
