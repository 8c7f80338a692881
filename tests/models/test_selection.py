from __future__ import annotations

from models.selection import Candidate, choose


def candidate(
    count: int, silhouette: float | None, stability: float, smallest: float = 0.1, noise: float = 0.0
) -> Candidate:
    return Candidate("kmeans", count, silhouette, stability, smallest, noise)


def pick(*candidates: Candidate) -> int:
    return choose(candidates, min_segment_share=0.01, min_stability=0.6)[0].n_segments


def test_fewer_segments_win_within_five_percent_of_the_best_silhouette() -> None:
    assert pick(candidate(8, 0.285, 0.9), candidate(10, 0.30, 0.9)) == 8
    assert pick(candidate(8, 0.284, 0.9), candidate(10, 0.30, 0.9)) == 10


def test_negative_silhouettes_have_a_best_too() -> None:
    assert pick(candidate(8, -0.2, 0.9), candidate(10, -0.1, 0.9)) == 10


def test_unstable_tiny_noisy_and_single_are_not_good() -> None:
    good = candidate(12, 0.1, 0.6)
    assert pick(good, candidate(4, 0.9, 0.59)) == 12
    assert pick(good, candidate(4, 0.9, 0.9, smallest=0.009)) == 12
    assert pick(good, candidate(4, 0.9, 0.9, noise=0.51)) == 12
    assert pick(good, candidate(1, None, 1.0)) == 12


def test_none_good_takes_the_most_stable_and_says_so() -> None:
    chosen, reason = choose(
        [candidate(8, 0.3, 0.5), candidate(10, 0.2, 0.55)], min_segment_share=0.01, min_stability=0.6
    )
    assert chosen.n_segments == 10
    assert "came back most surely (0.55)" in reason


def test_the_reason_counts_the_good() -> None:
    offered = [candidate(4, 0.2, 0.9), candidate(6, 0.30, 0.9), candidate(8, 0.31, 0.9), candidate(12, 0.5, 0.3)]
    chosen, reason = choose(offered, min_segment_share=0.01, min_stability=0.6)
    assert chosen.n_segments == 6
    assert reason.startswith("Of 4 candidates, 3 had")
