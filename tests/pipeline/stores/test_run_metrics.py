"""Every metric has one name and one description, which the experiment in MLflow shows."""

from __future__ import annotations

import pytest

from pipeline.stores.run_metrics import (
    METRICS,
    better_direction,
    current_name,
    describe_metric,
    experiment_description,
)

MAX_TAG_CHARS = 5000


def test_the_experiment_lists_every_metric_within_the_limit_of_mlflow() -> None:
    text = experiment_description()
    assert len(text) <= MAX_TAG_CHARS
    assert [name for name in METRICS if f"| `{name}` | " not in text] == []


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("behaviour/stability_mean", "higher"),
        ("interest/davies_bouldin", "lower"),
        ("behaviour/validity_spend_r2", "higher"),
        ("validity/buys_auc", "higher"),
        ("validity/log_rfm_activity_shares_category_auc", ""),
        ("value/spend_r2", "higher"),
        ("value/category_auc", ""),
        ("queries/learned", ""),
        ("backtest/what_ndcg", "higher"),
        ("behaviour/unknown", ""),
        ("stability_mean", ""),
    ],
)
def test_directions(name: str, better: str) -> None:
    assert better_direction(name) == better


def test_a_name_without_a_description_has_none() -> None:
    assert describe_metric("behaviour/unknown") is None and describe_metric("validity/rfm") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("behaviour/stability_mean", "behaviour/stability_mean"),
        ("behaviour/validity_buys_auc", "behaviour/validity_buys_auc"),
        ("validity_buys_auc", "validity/buys_auc"),
        ("validity_kept_spend_r2", "validity/kept_spend_r2"),
        ("log_rfm_activity_shares_buys_auc", "validity/log_rfm_activity_shares_buys_auc"),
        ("ceiling_spend_r2", "validity/ceiling_spend_r2"),
        ("backtest_who_auc", "backtest/who_auc"),
        ("queries_by_text", "queries/by_text"),
    ],
)
def test_metrics_of_version_0_1_get_their_present_names(old: str, new: str) -> None:
    assert current_name(old) == new
    assert describe_metric(new)
