"""Figures of expected values: computed by hand, and equal to scikit-learn's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from models.expected_value import PastOutcomes
from models.value_quality import Tenth, by_tenth, calibration_error, probability_figures, spend_figures, value_figures


def test_probability_figures_equal_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    probability = np.round(generator.random(500), 2)
    happened = generator.random(500) < probability
    figures = probability_figures(probability, happened)
    assert figures["auc"] == pytest.approx(roc_auc_score(happened, probability))
    assert figures["brier"] == pytest.approx(brier_score_loss(happened, probability))
    assert figures["log_loss"] == pytest.approx(log_loss(happened, np.clip(probability, 1e-6, 1 - 1e-6)))
    assert figures["calibration_error"] < 0.08


def test_tenths_and_calibration_error_by_hand() -> None:
    predicted = np.repeat([0.2, 0.6], 10)
    observed = np.array([0.0] * 8 + [1.0] * 2 + [1.0] * 10)
    tenths = by_tenth(predicted, observed)
    assert len(tenths) == 10
    assert tenths[0] == Tenth(2, pytest.approx(0.2), 0.0)
    assert tenths[4] == Tenth(2, pytest.approx(0.2), 1.0)
    # Four tenths are off by .2, one by .8, five by .4.
    assert calibration_error(tenths) == pytest.approx((4 * 0.2 + 0.8 + 5 * 0.4) / 10)
    assert len(by_tenth(predicted[:3], observed[:3])) == 3


def test_spend_figures_by_hand() -> None:
    spend = np.array([0.0, 9.0, 99.0])
    assert spend_figures(spend, spend) == {"r2": pytest.approx(1.0), "total_error": pytest.approx(0.0)}
    assert spend_figures(2.0 * spend, spend)["total_error"] == pytest.approx(1.0)
    assert np.isnan(spend_figures(np.ones(3), spend)["r2"])


def test_figures_that_are_not_defined_are_left_out() -> None:
    predicted = pd.DataFrame({"buy_probability": [0.1, 0.9], "expected_spend": np.nan, "alive_probability": [1.0, 1.0]})
    outcomes = PastOutcomes(pd.DataFrame(), np.array([False, True]), np.array([True, True]), np.zeros(2))
    figures = value_figures(predicted, outcomes)
    assert set(figures) == {
        *("buy_auc", "buy_brier", "buy_log_loss", "buy_calibration_error"),
        *("alive_brier", "alive_log_loss", "alive_calibration_error"),
    }
    assert figures["buy_auc"] == 1.0
