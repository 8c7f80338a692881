from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from models.control_groups import customer_numbers, detectable_effect, holdout_groups, split_check
from models.effect_estimates import estimate_effect

DRAW = {"campaign": "spring", "key": "secret"}


def ids_of(count: int) -> list[str]:
    return [f"customer-{number}" for number in range(count)]


def test_a_number_by_hand() -> None:
    key = hmac.new(b"secret", b"customer\0spring", hashlib.sha256).digest()
    first = int.from_bytes(hashlib.blake2b(b"customer-0", key=key, digest_size=8).digest(), "big")
    assert customer_numbers(["customer-0"], **DRAW)[0] == (first >> 11) / 2**53


def test_numbers_are_uniform_and_independent_between_campaigns_and_keys() -> None:
    ids = ids_of(20_000)
    spring = customer_numbers(ids, **DRAW)
    assert stats.kstest(spring, "uniform").pvalue > 0.01
    for other in ({"campaign": "autumn", "key": "secret"}, {"campaign": "spring", "key": "other"}):
        assert abs(stats.spearmanr(spring, customer_numbers(ids, **other)).statistic) < 0.03


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=40, unique=True), st.randoms(), st.floats(0.01, 0.99))
def test_order_and_company_change_nothing(ids: list[str], random: object, share: float) -> None:
    groups = dict(zip(ids, holdout_groups(ids, share=share, **DRAW), strict=True))
    shuffled = [*ids, "someone else \0"]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = dict(zip(shuffled, holdout_groups(shuffled, share=share, **DRAW), strict=True))
    assert {one: again[one] for one in ids} == groups
    for one in ids:
        assert holdout_groups([one], share=share, **DRAW)[0] == groups[one]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=80), st.randoms(), st.sampled_from([0.05, 0.1, 0.5, 0.8]))
def test_strata_are_drawn_exactly_whatever_the_order(labels: list[str], random: object, share: float) -> None:
    customers = list(zip(ids_of(len(labels)), labels, strict=True))
    found = pd.DataFrame(customers, columns=["customer_id", "stratum"])
    found["is_held_out"] = holdout_groups(found.customer_id, share=share, strata=found.stratum, **DRAW)
    for _, stratum in found.groupby("stratum"):
        assert abs(stratum.is_held_out.sum() - share * len(stratum)) < 1
        numbers = customer_numbers(stratum.customer_id, **DRAW)
        held_out = stratum.is_held_out.to_numpy()
        assert max(numbers[held_out], default=0.0) < min(numbers[~held_out], default=1.0)
    random.shuffle(customers)  # type: ignore[attr-defined]
    again = pd.DataFrame(customers, columns=["customer_id", "stratum"])
    again["is_held_out"] = holdout_groups(again.customer_id, share=share, strata=again.stratum, **DRAW)
    assert again.set_index("customer_id").is_held_out.to_dict() == found.set_index("customer_id").is_held_out.to_dict()


def test_many_tiny_strata_hold_out_the_planned_share() -> None:
    # Of 4 customers, 10% is 0.4 of one: rounding to the nearest would hold out nobody at all.
    for size in (4, 6):
        ids = ids_of(6_000)
        held_out = holdout_groups(ids, share=0.1, strata=[str(number // size) for number in range(len(ids))], **DRAW)
        assert held_out.mean() == pytest.approx(0.1, abs=0.012)


def test_large_strata_are_drawn_as_if_there_were_none() -> None:
    ids = ids_of(3_000)
    strata = pd.Series(["large"] * 2_900 + ["small"] * 60 + [None] * 40)
    plain, held_out = (holdout_groups(ids, share=0.1, strata=some, **DRAW) for some in (None, strata))
    assert (plain[:2_900] == held_out[:2_900]).all()
    assert held_out[2_900:2_960].sum() == 6
    assert held_out[2_960:].sum() == 4


def test_only_customers_near_the_border_of_a_small_stratum_change_groups() -> None:
    ids = ids_of(301)
    before = holdout_groups(ids[:300], share=0.1, strata=["one"] * 300, **DRAW)
    after = holdout_groups(ids, share=0.1, strata=["one"] * 301, **DRAW)[:300]
    assert (before != after).sum() <= 1
    numbers = customer_numbers(ids[:300], **DRAW)
    is_near = np.abs(numbers - 0.1) <= 3 * np.sqrt(0.09 / 300)
    plain = holdout_groups(ids[:300], share=0.1, **DRAW)
    assert (before == plain)[~is_near].all()


def test_a_larger_share_holds_out_the_same_and_more() -> None:
    few, many = (holdout_groups(ids_of(500), share=share, **DRAW) for share in (0.1, 0.2))
    assert (few <= many).all()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 5.0, float("nan")])
def test_a_share_that_holds_out_no_one_or_everyone_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"above 0 and below 1, such as 0\.1"):
        holdout_groups(["a"], share=share, **DRAW)


def test_refusals_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="'a' is in the list more than once"):
        holdout_groups(["a", "b", "a"], share=0.1, **DRAW)
    with pytest.raises(ValueError, match="1 customers have no customer_id"):
        holdout_groups(["a", None], share=0.1, **DRAW)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="The key is empty"):
        holdout_groups(["a"], share=0.1, campaign="spring", key="")
    with pytest.raises(ValueError, match="a label for each of the 2 customers; got 1"):
        holdout_groups(["a", "b"], share=0.1, strata=["x"], **DRAW)
    assert holdout_groups([], share=0.1, **DRAW).shape == (0,)


def test_split_check_by_hand() -> None:
    # Expected 100 and 900: (130 - 100)^2 / 100 + (870 - 900)^2 / 900 = 10.
    found = split_check(np.arange(1_000) < 130, planned_share=0.1)
    assert found.p_value == pytest.approx(stats.chi2.sf(10.0, 1))
    assert found.held_out_count == 130
    assert not found.is_mismatch
    assert split_check(np.arange(1_000) < 140, planned_share=0.1).is_mismatch
    assert split_check(np.zeros(0, dtype=bool), planned_share=0.1).p_value == 1.0


def test_detectable_effect_by_hand() -> None:
    # Fleiss, Levin and Paik: n for 4% against 4.9% with 80% at 5% is
    # (1.95996 sqrt(2 * .0445 * .9555) + .84162 sqrt(.049 * .951 + .04 * .96))^2 / .009^2 = 8,238.9.
    assert detectable_effect(8_239, 8_239, 0.04) == pytest.approx(0.009, abs=1e-6)


def test_where_no_effect_can_show() -> None:
    assert detectable_effect(5, 5, 0.5) is None
    assert detectable_effect(1_000, 0, 0.1) is None
    assert detectable_effect(1_000, 1_000, 1.0) is None
    rise = detectable_effect(1_000, 1_000, 0.0)
    assert rise is not None
    assert 0 < rise < 0.02
    with pytest.raises(ValueError, match="share of customers, from 0 to 1"):
        detectable_effect(100, 100, 4.0)


@pytest.mark.parametrize(
    ("n_treated", "n_held_out", "base_rate"), [(9_000, 1_000, 0.04), (2_000, 2_000, 0.1), (400, 100, 0.3)]
)
def test_the_detectable_effect_is_found_in_four_of_five_campaigns(
    n_treated: int, n_held_out: int, base_rate: float
) -> None:
    rise = detectable_effect(n_treated, n_held_out, base_rate)
    assert rise is not None
    generator = np.random.default_rng(3)
    is_held_out = np.arange(n_treated + n_held_out) >= n_treated
    found = 0
    for _ in range(1_500):
        bought = generator.random(len(is_held_out)) < np.where(is_held_out, base_rate, base_rate + rise)
        effect = estimate_effect(bought.astype(float), bought.astype(float), is_held_out, kind="share")
        found += effect is not None and effect.p_value <= 0.05
    assert found / 1_500 == pytest.approx(0.8, abs=0.03)
