"""The leading-category rule, used if no clustering of interests is stable."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from features.categories import CategoryCut
from models.leading_category import LeadingRule, fit_leading_category
from models.scorer import NOISE, leading_category

CUT = CategoryCut(2, ("Pets > Cats", "Pets > Dogs", "Home > Lamps", "(other)"), (0.2, 0.2, 0.4, 0.2))


def rule(least: float = 0.01) -> LeadingRule:
    return LeadingRule(CUT, kappa=2.0, min_lift=1.3, min_errors=1.64, min_share=least)


def test_the_share_furthest_above_the_shop_in_standard_errors_leads() -> None:
    model = {
        "nodes": np.array([0, 1, 2, -1]),
        "mix": np.array([0.2, 0.2, 0.4]),
        "kappa": 2.0,
        "min_lift": 1.3,
        "min_errors": 1.64,
    }
    rows = np.array([[0.5, 0.4, 0.1, 0.0, 97.0], [0.3, 0.2, 0.4, 0.1, 3.0], [0.1, 0.1, 0.1, 0.7, 500.0]])
    found = leading_category(rows, model)
    first = (0.5 - 0.2) / np.sqrt(0.5 * 0.5 / 100.0)
    second = (0.4 - 0.2) / np.sqrt(0.4 * 0.6 / 100.0)
    assert found["cluster_id"].tolist() == [
        0,
        NOISE,
        NOISE,
    ]  # the second has too little evidence, the third only OTHER, which cannot lead
    assert found["next_cluster_id"].tolist() == [1, NOISE, NOISE]
    assert found["strength"][0] == pytest.approx(norm.cdf(first))
    assert found["margin"][0] == pytest.approx(1.0 - second / first)
    assert found["is_noise"].tolist() == [False, True, True]


def customers(shares: list[float], count: int, evidence: float = 50.0) -> np.ndarray:
    return np.tile([*shares, evidence], (count, 1))


def test_the_level_with_most_leading_categories_is_chosen() -> None:
    # Half cats, half dogs: Pets leads with certainty for all of them, Cats or Dogs for none.
    mixed = customers([0.4, 0.4, 0.1, 0.1], 30, evidence=6.0)
    lamps = customers([0.05, 0.05, 0.8, 0.1], 20)
    found = fit_leading_category(np.vstack([mixed, lamps]), 0, rule=rule())
    assert found.fitted_labels.tolist() == [0] * 30 + [1] * 20
    assert found.model["nodes"].tolist() == [0, 0, 1, NOISE]
    assert found.model["mix"].tolist() == pytest.approx([0.4, 0.4])


def test_a_category_that_leads_for_few_customers_forms_no_group() -> None:
    space = np.vstack([customers([0.8, 0.1, 0.1, 0.0], 30), customers([0.1, 0.1, 0.8, 0.0], 4)])
    found = fit_leading_category(space, 0, rule=rule(least=0.2))
    assert found.fitted_labels.tolist() == [0] * 30 + [NOISE] * 4
    assert len(found.model["mix"]) == 1


def test_without_leading_categories_all_customers_are_noise() -> None:
    found = fit_leading_category(customers([0.2, 0.2, 0.4, 0.2], 25), 0, rule=rule())
    assert set(found.fitted_labels.tolist()) == {NOISE}
