"""BG/NBD and Gamma-Gamma: parameters and later orders of customers simulated with those of CDNOW (in weeks)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.bg_nbd import BGNBD, GammaGamma, fit_bg_nbd, fit_gamma_gamma

CDNOW = BGNBD(r=0.243, alpha=4.414, a=0.793, b=2.426)
CDNOW_VALUE = GammaGamma(p=6.25, q=3.74, gamma=15.44)


def simulated(count: int, horizon: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """repeats, last, age, and orders in the ``horizon`` after it."""
    generator = np.random.default_rng(seed)
    age = generator.uniform(27.0, 39.0, count)
    rate = generator.gamma(CDNOW.r, 1.0 / CDNOW.alpha, count)
    dropout = generator.beta(CDNOW.a, CDNOW.b, count)
    repeats, last, later = np.zeros(count), np.zeros(count), np.zeros(count)
    for customer in range(count):
        time = 0.0
        while (time := time + generator.exponential(1.0 / max(rate[customer], 1e-12))) < age[customer] + horizon:
            if time < age[customer]:
                repeats[customer], last[customer] = repeats[customer] + 1, time
            else:
                later[customer] += 1
            if generator.random() < dropout[customer]:
                break
    return repeats, last, age, later


def test_bg_nbd_recovers_its_parameters_and_predicts_later_orders() -> None:
    repeats, last, age, later = simulated(12_000, 30.0, seed=1)
    model = fit_bg_nbd(repeats, last, age)
    assert model.r == pytest.approx(CDNOW.r, rel=0.1)
    assert model.alpha == pytest.approx(CDNOW.alpha, rel=0.15)
    assert model.a / (model.a + model.b) == pytest.approx(CDNOW.a / (CDNOW.a + CDNOW.b), rel=0.1)
    assert model.expected_orders(repeats, last, age, 30.0).sum() == pytest.approx(later.sum(), rel=0.05)
    probability = model.buys(repeats, last, age, 30.0)
    for low, high in ((0.0, 0.1), (0.1, 0.5), (0.5, 1.0)):
        inside = (probability >= low) & (probability < high)
        assert probability[inside].mean() == pytest.approx((later[inside] > 0).mean(), abs=0.03)


def test_the_figures_of_a_known_customer() -> None:
    # The example of Fader, Hardie and Lee for CDNOW: two repeat orders, the last in week 30.43 of 38.86; the next 39 weeks.
    expected = CDNOW.expected_orders(np.array([2.0]), np.array([30.43]), np.array([38.86]), 39.0)
    assert expected[0] == pytest.approx(1.226, abs=0.001)
    assert CDNOW.alive(np.array([0.0]), np.array([0.0]), np.array([38.86]))[0] == 1.0


def test_gamma_gamma_recovers_its_parameters() -> None:
    generator = np.random.default_rng(2)
    orders = generator.integers(1, 8, 12_000).astype(np.float64)
    scale = generator.gamma(CDNOW_VALUE.q, 1.0 / CDNOW_VALUE.gamma, len(orders))
    mean_value = generator.gamma(CDNOW_VALUE.p * orders, 1.0 / (scale * orders))
    model = fit_gamma_gamma(orders, mean_value)
    assert model.p == pytest.approx(CDNOW_VALUE.p, rel=0.1)
    assert model.q == pytest.approx(CDNOW_VALUE.q, rel=0.1)
    assert model.gamma == pytest.approx(CDNOW_VALUE.gamma, rel=0.1)
    # A single order moves the estimate a little, many orders almost all the way.
    shop = CDNOW_VALUE.p * CDNOW_VALUE.gamma / (CDNOW_VALUE.q - 1.0)
    one, many = model.mean_value(np.array([1.0, 1000.0]), np.array([3.0 * shop, 3.0 * shop]))
    assert shop < one < many < 3.0 * shop
    assert many == pytest.approx(3.0 * shop, rel=0.01)
