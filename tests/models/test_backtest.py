"""Backtest figures compared with scikit-learn, and on cases computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import ndcg_score, roc_auc_score

from models.backtest import (
    Figure,
    Figures,
    auc_within,
    baseline_scores,
    compare_scores,
    customer_weights,
    ndcg,
    weighted_auc,
)
from models.interests import Snapshot


def test_auc_equals_scikit_learn_with_ties_and_weights() -> None:
    generator = np.random.default_rng(1)
    score = generator.integers(0, 6, 200).astype(float)
    bought = generator.random(200) < 0.3
    weights = np.vstack([np.ones(200), generator.integers(0, 4, 200)])
    expected = [roc_auc_score(bought, score, sample_weight=weight) for weight in weights]
    np.testing.assert_allclose(weighted_auc(score, bought, weights), expected)


def test_auc_without_buyers_is_undefined() -> None:
    assert np.isnan(weighted_auc(np.arange(3.0), np.zeros(3, dtype=bool), np.ones((1, 3)))).all()


def test_figures_within_a_customer_equal_scikit_learn() -> None:
    generator = np.random.default_rng(2)
    score = generator.integers(0, 5, (40, 9)).astype(float)
    bought = generator.random((40, 9)) < 0.3
    bought[:, 0], bought[:, 1] = True, False
    expected = [roc_auc_score(row, value) for row, value in zip(bought, score, strict=True)]
    np.testing.assert_allclose(auc_within(score, bought), expected)
    expected = [ndcg_score([row], [value], k=5) for row, value in zip(bought.astype(float), score, strict=True)]
    np.testing.assert_allclose(ndcg(score, bought), expected)


def test_the_truth_beats_chance_and_intervals_contain_the_mean() -> None:
    generator = np.random.default_rng(3)
    truth = generator.random((400, 6))
    bought = generator.random((400, 6)) < truth**3
    rows = compare_scores(
        {"truth": truth, "chance": generator.random((400, 7))}, bought, min_buyers=10, resamples=50, seed=0
    )
    best, chance = rows
    for figure in (best.figures.who_auc, best.figures.what_auc, best.figures.what_ndcg):
        assert figure.low < figure.mean < figure.high
    assert best.figures.who_auc.low > 0.7 > chance.figures.who_auc.high
    assert chance.figures.what_auc.mean == pytest.approx(0.5, abs=0.05)


def test_a_lead_is_computed_on_the_same_resamples() -> None:
    """The interval is that of paired differences, not the gap between two separate intervals."""
    generator = np.random.default_rng(4)
    truth = generator.random((300, 5))
    bought = generator.random((300, 5)) < truth**3
    noise = generator.normal(0.0, 0.05, truth.shape)
    scores = {"worse": truth + noise, "again": truth, "ours": truth}
    worse, again, ours = compare_scores(scores, bought, min_buyers=10, resamples=60, seed=0)
    zero = Figure(0.0, 0.0, 0.0)
    assert again.lead == ours.lead == Figures(zero, zero, zero)
    for name in ("who_auc", "what_auc", "what_ndcg"):
        lead, mine, others = (getattr(figures, name) for figures in (worse.lead, ours.figures, worse.figures))
        assert lead.mean == pytest.approx(mine.mean - others.mean)
        assert lead.low < lead.mean < lead.high
        assert lead.high - lead.low < min(mine.high - mine.low, others.high - others.low)
    weights = customer_weights(300, 60, 0)
    buyers = bought.any(axis=1) & ~bought.all(axis=1)
    gain = ndcg(truth[buyers], bought[buyers]) - ndcg((truth + noise)[buyers], bought[buyers])
    expected = np.percentile([np.average(gain, weights=weight[buyers]) for weight in weights[1:]], [2.5, 97.5])
    assert [worse.lead.what_ndcg.low, worse.lead.what_ndcg.high] == pytest.approx(expected)


def test_figures_are_undefined_if_nobody_bought() -> None:
    (row,) = compare_scores({"any": np.ones((5, 3))}, np.zeros((5, 3), dtype=bool), min_buyers=1, resamples=3, seed=0)
    for figures in (row.figures, row.lead):
        assert np.isnan([figures.who_auc.mean, figures.what_auc.mean, figures.what_ndcg.mean]).all()


@pytest.mark.parametrize("kinds", [("purchase", "view"), ("view",)])
def test_there_is_no_purchases_baseline_if_snapshots_count_no_purchases(kinds: tuple[str, ...]) -> None:
    snapshot = Snapshot(
        customer=np.array([0, 1, 1]),
        column=np.array([0, 1, 0]),
        kind=np.array([0, 0, len(kinds) - 1]),
        event_count=np.array([2.0, 1.0, 4.0]),
        mean_age_days=np.ones(3),
        min_age_days=np.ones(3),
        kinds=kinds,
        paths=(("a",), ("b",), ("(other)",)),
        level=1,
        mix=np.array([0.5, 0.4, 0.1]),
        last_age_days=np.ones(2),
        bought=np.eye(2, dtype=bool),
    )
    scores = baseline_scores([snapshot], snapshot, np.zeros((2, 3)))
    assert len(scores) == 5 + ("purchase" in kinds)
    if "purchase" in kinds:
        assert scores["purchases only"].tolist() == [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
