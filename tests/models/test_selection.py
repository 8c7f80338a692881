from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from models.selection import Candidate, Choice, choose, scores

OUTCOMES = ["buys_auc", "spend_r2", "category_auc"]


def candidate(count: int, buys: float | None, **changes: Any) -> Candidate:
    fields: dict[str, Any] = {
        **{"algorithm": "kmeans", "asked": count, "density": None, "balance": 0, "balance_name": "blocks as given"},
        **{
            "n_segments": count,
            "silhouette": 0.2,
            "density_validity": None,
            "stability": 0.9,
            "stable_share": 0.95,
            "named_apart": count,
            "buyer_count": 20_000,
        },
        **{"smallest_count": 100.0, "smallest_share": 0.1, "noise_share": 0.0, "buys_auc": buys},
    }
    return Candidate(**{**fields, **changes})


def choice_of(*candidates: Candidate, tolerance: float = 0.05, min_group: int = 1) -> Choice:
    choice = choose(
        candidates,
        chosen_by=OUTCOMES,
        tolerance=tolerance,
        min_customers=10,
        min_segment_share=0.01,
        min_stable_share=0.9,
        min_group=min_group,
    )
    assert choice is not None
    return choice


def pick(*candidates: Candidate) -> int:
    return choice_of(*candidates).chosen.n_segments


def test_scores_by_hand() -> None:
    offered = [
        candidate(4, 0.6, spend_r2=0.1, category_auc=0.5),
        candidate(8, 0.7, spend_r2=0.4, category_auc=0.45),
        candidate(12, 0.8, spend_r2=0.2, category_auc=None),
    ]
    # Gains .1, .2, .3 and .1, .4, .2; in categories none is above chance, so they do not count.
    assert scores(offered, OUTCOMES) == pytest.approx([(1 / 3 + 1 / 4) / 2, (2 / 3 + 1) / 2, (1 + 1 / 2) / 2])


def test_without_outcomes_the_silhouette_counts() -> None:
    unjudged = [candidate(4, None, silhouette=-0.1), candidate(8, None, silhouette=None)]
    assert scores(unjudged, OUTCOMES) == [-0.1, -1.0]
    assert pick(candidate(8, None, silhouette=0.285), candidate(10, None, silhouette=0.3)) == 8
    assert pick(candidate(8, None, silhouette=0.284), candidate(10, None, silhouette=0.3)) == 10
    assert pick(candidate(8, None, silhouette=-0.2), candidate(10, None, silhouette=-0.1)) == 10


def test_the_simplest_within_the_tolerance_of_the_best_is_chosen() -> None:
    assert pick(candidate(8, 0.796), candidate(10, 0.8)) == 8
    assert pick(candidate(8, 0.784), candidate(10, 0.8)) == 10
    both = candidate(8, 0.8, balance=1, balance_name="value 2"), candidate(8, 0.799)
    assert choice_of(*both).chosen.balance == 0  # within the tolerance the configured balance is kept ...
    assert choice_of(both[0], replace(both[1], buys_auc=0.75)).chosen.balance == 1  # ... beyond it, it is not
    others = candidate(8, 0.8, balance=2), candidate(8, 0.799, balance=1)
    assert choice_of(*others).chosen.balance == 2  # among other balances, the better prediction wins
    # First the best candidate of each balance decides the balance, then the number of segments is chosen within it.
    fewer = candidate(6, 0.799, balance=1), candidate(6, 0.7), candidate(12, 0.79)
    assert (choice_of(*fewer).chosen.balance, choice_of(*fewer).chosen.n_segments) == (0, 12)
    dense = candidate(4, 0.8, algorithm="hdbscan", asked=None, density=0.02)
    assert choice_of(dense, candidate(8, 0.8)).chosen.algorithm == "kmeans"


def test_tiny_noisy_unstable_and_single_segments_do_not_qualify() -> None:
    qualified = candidate(12, 0.6)
    assert pick(qualified, candidate(4, 0.9, stable_share=0.89)) == 12
    assert pick(qualified, candidate(4, 0.9, smallest_share=0.009)) == 12
    assert pick(qualified, candidate(4, 0.9, smallest_count=9.0)) == 12
    assert pick(qualified, candidate(4, 0.9, noise_share=0.51)) == 12
    assert pick(qualified, candidate(1, 0.9)) == 12


def test_stability_then_share_are_relaxed_and_reported_but_not_the_customer_count() -> None:
    shaky = candidate(6, 0.9, stable_share=0.4), candidate(8, 0.7, stable_share=0.5)
    nearest = choice_of(candidate(4, 0.9, smallest_share=0.001), *shaky)
    assert nearest.chosen.n_segments == 8
    assert "at least 50% of customers in stable segments" in nearest.reason
    assert "No candidate had 90% in stable segments (sweep.min_stable_share)." in nearest.reason
    small = choice_of(candidate(4, 0.9, smallest_share=0.001), candidate(8, 0.95, smallest_count=9.0))
    assert small.chosen.n_segments == 4 and "No candidate had only large segments" in small.reason
    unusable = [candidate(4, 0.9, smallest_count=9.0), candidate(1, 0.9)]
    assert (
        choose(
            unusable,
            chosen_by=OUTCOMES,
            tolerance=0.1,
            min_customers=10,
            min_segment_share=0.0,
            min_stable_share=0.0,
            min_group=1,
        )
        is None
    )


def test_the_reason_states_the_conditions_and_the_predictive_figures() -> None:
    offered = [candidate(4, 0.6), candidate(6, 0.798), candidate(8, 0.8), candidate(12, 0.9, stable_share=0.3)]
    choice = choice_of(*offered)
    assert choice.reason.startswith(
        "3 of 4 candidates qualify (no segment under 10 customers or 1% of customers, at least 90% of customers in stable"
    )
    assert "is kmeans, 6 segments, blocks as given; the best is kmeans, 8 segments" in choice.reason
    assert "who buys 0.798 compared with 0.800" in choice.reason


def test_a_best_candidate_at_the_edge_of_the_search_space_gives_a_note() -> None:
    assert choice_of(candidate(4, 0.6), candidate(6, 0.8), candidate(8, 0.7)).notes == ()
    (note,) = choice_of(candidate(4, 0.6), candidate(6, 0.7), candidate(8, 0.8)).notes
    assert "at the highest value of try_n_segments; higher values were not tried and may be better" in note
    (note,) = choice_of(candidate(4, 0.8), candidate(6, 0.7)).notes
    assert "at the lowest value of try_n_segments" in note
    assert choice_of(candidate(4, 0.8)).notes == ()
    (note,) = choice_of(candidate(4, 0.799), candidate(6, 0.8), candidate(8, 0.7)).notes
    assert note == "The chosen candidate has the lowest of try_n_segments (4); fewer may do as well."
    dense = [candidate(n, 0.7, algorithm="hdbscan", asked=None, density=share) for n, share in ((5, 0.05), (9, 0.02))]
    (note,) = choice_of(*dense).notes
    assert "at the highest value of try_min_cluster_share" in note


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
        min_group=1,
        min_separation=0.25,
    )


def test_well_separated_groups_are_chosen_and_noise_lowers_separation() -> None:
    choice = chosen_by_separation(interests(8, 0.3), interests(14, 0.5), interests(20, 0.4))
    assert choice is not None and choice.chosen.n_segments == 14
    dense = interests(14, 0.6, noise_share=0.5, algorithm="hdbscan", asked=None, density=0.02)
    assert dense.separation == pytest.approx(0.3)
    choice = chosen_by_separation(interests(12, 0.5), dense)
    assert choice is not None and choice.chosen.algorithm == "kmeans"


def test_a_continuum_has_no_choice() -> None:
    assert chosen_by_separation(interests(4, 0.24), interests(8, 0.1)) is None
    assert (
        chosen_by_separation(interests(4, 0.4, stable_share=0.8)) is None
    )  # the stability requirement is not relaxed here


def test_a_small_segment_of_a_candidate_is_no_exact_number() -> None:
    found = candidate(4, 0.8, smallest_count=37.0, smallest_share=37 / 1234, noise_share=61 / 1234).published(10)
    assert (found.smallest_count, found.smallest_share, found.noise_share) == (40, 40 / 1230, 60 / 1230)
    nothing = candidate(0, None, smallest_count=0.0, smallest_share=0.0, noise_share=1.0)
    assert nothing.published(10) == nothing


def test_predictions_are_published_by_the_number_of_buyers() -> None:
    found = candidate(4, 0.6789, silhouette=0.2341, category_auc=0.7123, smallest_count=2_000.0, buyer_count=21)
    shown = found.published(10)
    assert (shown.silhouette, shown.buys_auc, shown.category_auc) == (0.234, 0.7, 0.7)
    assert "buyer_count" not in shown.as_dict()
    uneven = replace(found, stability=0.8765, smallest_count=50.0, smallest_share=0.001).published(10)
    assert (uneven.silhouette, uneven.stability) == (0.234, 0.88)  # 4 segments, the smallest of 50 customers
    few = replace(found, buyer_count=9).published(10)
    assert (few.silhouette, few.buys_auc, few.spend_r2, few.category_auc) == (0.234, None, None, None)
    assert replace(found, n_segments=0, smallest_share=0.0, smallest_count=0.0).published(10).buys_auc == 0.7
    assert found.published(1).buys_auc == 0.679
    tiny = candidate(1, 0.6, smallest_count=9.0, smallest_share=1.0).published(10)
    assert (tiny.silhouette, tiny.stability, tiny.stable_share) == (None, None, None)


def test_the_reason_has_published_figures_and_says_if_they_do_not_explain_the_choice() -> None:
    unexplained = "Figures are rounded after the choice, which the rounded ones alone do not explain."
    offered = [candidate(4, 0.612, buyer_count=100), candidate(8, 0.7004, buyer_count=100)]
    reason = choice_of(*offered, min_group=10).reason
    assert "is kmeans, 8 segments" in reason and "who buys 0.700" in reason and unexplained not in reason
    tied = [replace(each, buys_auc=auc) for each, auc in zip(offered, (0.691, 0.709), strict=True)]
    reason = choice_of(*tied, min_group=10).reason
    assert "who buys 0.700" in reason and reason.endswith(unexplained)
    assert unexplained not in choice_of(*tied, min_group=1).reason
    # With too few buyers, predictions decide and are not shown.
    hidden = [replace(each, buyer_count=9) for each in offered]
    reason = choice_of(*hidden, min_group=10).reason
    assert "best score in who buys, spend and categories is kmeans, 8 segments" in reason and "who buys 0" not in reason
    shaky = candidate(4, 0.6, stable_share=0.4321, smallest_count=10.0)
    assert "at least 44% of customers in stable segments" in choice_of(shaky, min_group=10).reason
