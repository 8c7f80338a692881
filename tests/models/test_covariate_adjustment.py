from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from models.covariate_adjustment import adjusted_outcome, covariate_columns, usable_columns


def test_columns_by_hand() -> None:
    table = pd.DataFrame(
        {"orders": [1.0, 3.0, np.nan, np.inf] * 20, "channel": ["web", "phone", None, "web"] * 20, "same": 7}
    )
    columns = covariate_columns(table)
    # orders, its missing ones, phone and null (the most frequent value is the one compared with); `same` says nothing.
    assert columns.shape == (80, 4)
    np.testing.assert_allclose(columns.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(columns.std(axis=0), 1.0)
    assert columns[2, 0] == pytest.approx(0.0)
    assert covariate_columns(pd.DataFrame({"orders": [np.nan] * 3})).shape == (3, 0)
    assert covariate_columns(table[:0]).shape == (0, 0)


def test_rare_labels_share_a_column() -> None:
    labels = pd.DataFrame({"city": ["Lviv"] * 50 + ["Kyiv"] * 30 + [f"village {number}" for number in range(10)]})
    assert covariate_columns(labels).shape == (90, 2)


def test_too_few_customers_for_so_many_columns() -> None:
    table = pd.DataFrame(np.random.default_rng(1).random((100, 3)), columns=list("abc"))
    assert usable_columns(table, np.arange(100) < 40).shape == (100, 3)
    assert usable_columns(table, np.arange(100) < 39).shape == (100, 0)
    assert usable_columns(None, np.arange(100) < 50).shape == (100, 0)


def test_each_customer_is_predicted_by_the_others() -> None:
    generator = np.random.default_rng(2)
    columns, is_held_out = generator.normal(size=(40, 2)), np.arange(40) % 4 == 0
    outcome = columns @ [1.0, 2.0] + generator.normal(size=40)
    found = adjusted_outcome(outcome, columns, is_held_out)
    for place in (0, 1):
        others = np.arange(40) != place
        of_treated, of_held_out = (
            LinearRegression().fit(columns[rows], outcome[rows]).predict(columns[[place]])[0]
            for rows in (others & ~is_held_out, others & is_held_out)
        )
        assert found[place] == pytest.approx(outcome[place] - 0.25 * of_treated - 0.75 * of_held_out)


def test_with_many_customers_it_is_the_regression_with_interactions() -> None:
    generator = np.random.default_rng(4)
    columns, is_held_out = generator.normal(size=(5_000, 2)), np.arange(5_000) % 10 == 0
    treated = ~is_held_out
    outcome = 3.0 * treated + columns @ [1.0, 2.0] * (1 + treated) + generator.normal(size=5_000)
    centred = columns - columns.mean(axis=0)
    design = np.column_stack([treated, centred, centred * treated[:, None]])
    lin = LinearRegression().fit(design, outcome).coef_[0]
    adjusted = adjusted_outcome(outcome, columns, is_held_out)
    assert adjusted[treated].mean() - adjusted[is_held_out].mean() == pytest.approx(lin, abs=2e-3)


def test_a_customer_who_alone_determines_a_coefficient() -> None:
    columns = np.zeros((60, 1))
    columns[0] = 1.0
    found = adjusted_outcome(np.arange(60.0), columns, np.arange(60) % 2 == 0)
    assert np.isfinite(found).all()
