from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from features.profile import Column
from models.preprocessing import distinct_columns, fit_scaling
from models.scorer import to_space


def test_four_customers_by_hand() -> None:
    profile = pd.DataFrame({"spend": [0.0, np.e - 1, np.nan, -5.0], "a": [0.25, 0.25, 1.0, 1.0]})
    columns = [Column("spend", "value", "log", np.e - 1), Column("a", "interest", "root", None)]
    scaling = fit_scaling(profile, columns, block_weights={"value": 2.0, "interest": 1.0})
    # log1p: 0, 1, 1 (filled), 0 (negative): mean 1/2, deviation 1/2. root: 1/2, 1/2, 1, 1: mean 3/4, deviation 1/4.
    np.testing.assert_allclose(scaling["centre"], [0.5, 0.75])
    np.testing.assert_allclose(scaling["scale"], [4.0, 4.0])
    np.testing.assert_allclose(to_space(profile, scaling), [[-2, -1], [2, -1], [2, 1], [-2, 1]])


def test_nulls_become_the_mean_before_the_transform() -> None:
    profile = pd.DataFrame({"a": [0.0, 4.0, np.nan, np.inf], "empty": np.nan})
    columns = [Column("a", "value", "root", None), Column("empty", "value", "none", None)]
    scaling = fit_scaling(profile, columns, block_weights={"value": 1.0})
    assert scaling["missing"].tolist() == [2.0, 0.0]
    assert np.isfinite(to_space(profile, scaling)).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 + 0.1, 1e9 / 3])
@pytest.mark.parametrize("block", ["value", "interest"])
def test_a_constant_column_has_no_influence(value: float, block: str) -> None:
    profile = pd.DataFrame({"a": np.full(1_000, value)})
    scaling = fit_scaling(profile, [Column("a", block, "none", None)], block_weights={block: 1.0})
    assert scaling["scale"].tolist() == [0.0]
    assert to_space(profile.assign(a=7.0), scaling).tolist() == [[0.0]] * 1_000


def test_a_block_without_a_weight_is_an_error() -> None:
    profile = pd.DataFrame({"a": [1.0, 2.0]})
    with pytest.raises(ValueError, match="expected a weight for every block of columns, got none for context"):
        fit_scaling(profile, [Column("a", "context", "none", None)], block_weights={"value": 1.0})


def test_read_only_columns_are_left_as_they_are() -> None:
    values = np.array([1.0, np.nan, 3.0])
    values.setflags(write=False)
    profile = pd.DataFrame({"a": values}, copy=False)
    to_space(profile, fit_scaling(profile, [Column("a", "value", "log", 0.0)], block_weights={"value": 1.0}))
    assert np.isnan(values[1])


def test_blocks_have_the_variance_of_their_weights() -> None:
    generator = np.random.default_rng(0)
    names = ["interest: a", "interest: b", "spend", "order_count", "constant"]
    profile = pd.DataFrame(generator.gamma(1.0, 1.0, (500, 5)), columns=names).assign(constant=3.0)
    profile.loc[::7, "spend"] = np.nan
    columns = [
        Column("interest: a", "interest", "root", None),
        Column("interest: b", "interest", "root", None),
        *(Column(name, "value", "log", 0.0) for name in names[2:]),
    ]
    scaling = fit_scaling(profile, columns, block_weights={"interest": 1.0, "value": 0.5, "journey": 1.0})
    space = to_space(profile, scaling)
    variance = space.var(axis=0)
    assert variance[:2].sum() == pytest.approx(1.0)
    assert variance[2:].sum() == pytest.approx(0.25)
    assert variance[4] == 0.0
    assert scaling["scale"][0] == scaling["scale"][1]  # distances within the block remain Hellinger distances


def test_columns_that_repeat_another_are_left_out() -> None:
    orders = np.random.default_rng(0).poisson(3.0, 3_000).astype(float)
    nearly, gaps = orders.copy(), orders.copy()
    nearly[-1] += 1.0
    gaps[-1] = np.nan
    profile = pd.DataFrame({"order_count": orders, "session_count": orders, "nearly": nearly, "gaps": gaps})
    profile = profile.assign(scaled=7.0 * orders, days=orders, zero=0.0, none=0.0, shown=0.0, unknown=np.nan)
    profile["interest: a"] = profile["interest: b"] = orders
    columns = [
        Column("order_count", "value", "log", 0.0),
        Column("session_count", "journey", "log", 0.0),
        *(Column(name, "journey", "log", 0.0) for name in ("nearly", "gaps")),
        Column("days", "journey", "none", None),
        Column("scaled", "journey", "none", None),
        *(Column(name, "context", "none", None) for name in ("zero", "none", "unknown")),
        *(Column(f"interest: {name}", "interest", "none", None) for name in "ab"),
        *(Column(name, "rates", "rate", None, ("order_count", "session_count")) for name in ("x", "y")),
    ]
    kept, repeated = distinct_columns(profile, columns)
    assert repeated == {"session_count": "order_count", "scaled": "days"}
    assert kept == [column for column in columns if column.name not in repeated]
