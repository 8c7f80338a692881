from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from models.campaign_effect import CampaignEffect, campaign_effect
from models.control_groups import holdout_groups
from models.covariate_adjustment import adjusted_outcome, covariate_columns
from models.effect_estimates import estimate_effect

Counts = dict[str, tuple[int, int, int, int]]


def effect_of(counts: Counts, **given: object) -> CampaignEffect:
    """Of segments, each of (treated buyers, treated customers, held-out buyers, held-out customers)."""
    rows = [
        (segment, arm, np.arange(customers) < buyers)
        for segment, (b1, n1, b2, n2) in counts.items()
        for arm, buyers, customers in ((False, b1, n1), (True, b2, n2))
    ]
    is_buyer = np.concatenate([bought for *_, bought in rows])
    is_held_out = np.concatenate([np.full(len(bought), arm) for _, arm, bought in rows])
    segments = np.concatenate([np.full(len(bought), segment) for segment, _, bought in rows])
    given = {"planned_share": max(is_held_out.mean(), 0.01), **given}
    return campaign_effect(is_held_out, is_buyer, 10.0 * is_buyer, segments=segments, **given)  # type: ignore[arg-type]


def by_segment(effect: CampaignEffect) -> dict[str | None, str | None]:
    return {one.segment: one.missing for one in effect.segments}


def test_segments_and_everyone_by_hand() -> None:
    found = effect_of({"Cats": (300, 1_000, 200, 1_000), "Dogs": (100, 1_000, 100, 1_000)})
    assert (found.overall.treated_count, found.overall.held_out_count) == (2_000, 2_000)
    assert found.overall.buyers is not None
    assert found.overall.buyers.difference == pytest.approx(0.05)
    cats, dogs = found.segments
    assert cats.buyers is not None
    assert cats.spend is not None
    assert dogs.buyers is not None
    assert (cats.segment, dogs.segment) == ("Cats", "Dogs")
    assert (cats.buyers.difference, cats.spend.difference) == pytest.approx((0.1, 1.0))
    assert (cats.verdict, dogs.verdict, found.overall.verdict) == ("send", "not clear", "send")
    assert dogs.buyers.p_value == pytest.approx(1.0)
    # Benjamini and Hochberg: the smaller of two p-values counts twice.
    assert cats.q_value == pytest.approx(2 * cats.buyers.p_value)
    assert dogs.q_value == pytest.approx(1.0)


def test_a_rise_that_does_not_pay_is_not_sent_again() -> None:
    counts = {"Cats": (400, 1_000, 200, 1_000), "Dogs": (110, 1_000, 100, 1_000), "Fish": (140, 1_000, 100, 1_000)}
    found = effect_of(counts, worth=0.05)
    assert [one.verdict for one in found.segments] == ["send", "do not send", "not clear"]
    assert [one.verdict for one in effect_of(counts, decide_by="spend", worth=0.5).segments] == [
        "send",
        "do not send",
        "not clear",
    ]


def test_a_campaign_that_drives_customers_away() -> None:
    assert effect_of({"Cats": (100, 1_000, 200, 1_000)}).segments[0].verdict == "do not send"


def test_small_groups_have_no_figures() -> None:
    large = {"Birds": (300, 1_000, 200, 1_000), "Cats": (300, 1_000, 200, 1_000), "Dogs": (200, 1_500, 100, 1_200)}
    found = effect_of(
        large | {"Few": (4, 9, 10, 30), "None bought": (50, 500, 9, 500), "All bought": (100, 100, 90, 100)}
    )
    few, none, every = (
        next(one for one in found.segments if one.segment == name) for name in ("Few", "None bought", "All bought")
    )
    assert (few.missing, none.missing, every.missing) == ("too few customers", "too few buyers", "too few others")
    assert few.buyers is few.spend is few.q_value is None
    assert few.verdict == "not clear"
    # Each of them is hidden by the others.
    assert [by_segment(found)[name] for name in large] == [None, None, None]


def test_a_small_group_cannot_be_worked_out_from_the_others() -> None:
    found = effect_of({"Cats": (300, 1_000, 200, 1_000), "Dogs": (200, 1_500, 100, 1_200), "Few": (4, 9, 10, 30)})
    assert by_segment(found) == {"Cats": None, "Dogs": "protected", "Few": "too few customers"}
    found = effect_of({"Cats": (300, 1_000, 200, 1_000), "All": (20, 20, 0, 0)}, min_group=10)
    assert by_segment(found) == {"All": "no held-out customers", "Cats": None}


def test_without_a_group_or_an_outcome_there_are_no_figures() -> None:
    assert effect_of({"Cats": (30, 100, 0, 0)}).overall.missing == "no held-out customers"
    assert effect_of({"Cats": (0, 0, 30, 100)}, planned_share=0.9).overall.missing == "no treated customers"
    found = effect_of({"Cats": (0, 1_000, 0, 1_000)})
    assert (found.overall.missing, found.overall.verdict) == ("too few buyers", "not clear")
    nobody = np.zeros(0, dtype=bool)
    assert campaign_effect(nobody, nobody, planned_share=0.1).overall.missing == "no treated customers"


def test_after_a_split_that_was_not_planned_nothing_is_clear() -> None:
    counts = {"Cats": (300, 1_000, 200, 1_000)}
    assert effect_of(counts).overall.verdict == "send"
    found = effect_of(counts, planned_share=0.4)
    assert found.split.is_mismatch
    assert found.overall.verdict == found.segments[0].verdict == "not clear"
    assert found.overall.buyers is not None


def test_spend_is_limited_only_when_asked() -> None:
    generator = np.random.default_rng(4)
    spend = np.where(generator.random(4_000) < 0.2, generator.gamma(2.0, 30.0, 4_000), 0.0)
    spend[-1] = 1e6
    is_held_out = np.arange(4_000) < 2_000
    plain, limited = (
        campaign_effect(is_held_out, spend > 0, spend, planned_share=0.5, spend_cap_quantile=one)
        for one in (None, 0.99)
    )
    assert plain.overall.spend is not None
    assert limited.overall.spend is not None
    assert plain.spend_cap is None
    assert plain.overall.spend.treated > 400
    assert limited.spend_cap == pytest.approx(np.quantile(spend[spend > 0], 0.99))
    assert limited.overall.spend.treated < 20


def test_refusals_say_what_to_do() -> None:
    two = np.array([True, False])
    with pytest.raises(ValueError, match="segments has 1 rows; is_held_out has 2"):
        campaign_effect(two, two, planned_share=0.5, segments=["a"])
    with pytest.raises(ValueError, match="spend of 1 customers is not known: it is 0"):
        campaign_effect(two, two, np.array([1.0, np.nan]), planned_share=0.5)
    with pytest.raises(ValueError, match="1 customers have no segment"):
        campaign_effect(two, two, planned_share=0.5, segments=["a", None])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="Spend is to decide, but none was given"):
        campaign_effect(two, two, planned_share=0.5, decide_by="spend")
    with pytest.raises(ValueError, match="planned share"):
        campaign_effect(two, two, planned_share=0.0)


def shop(customers: int, seed: int) -> tuple[pd.DataFrame, pd.Series, np.ndarray]:
    """Covariates, segment and skewed spend, for which the covariates say something; some are missing."""
    generator = np.random.default_rng(seed)
    taste = generator.normal(size=customers)
    past = np.exp(taste + generator.normal(size=customers))
    chance = 1.0 / (1.0 + np.exp(1.5 - taste))
    spend = np.where(
        generator.random(customers) < chance, np.exp(3.0 + 0.5 * taste + generator.normal(size=customers)), 0.0
    )
    covariates = pd.DataFrame(
        {"past_spend": past, "log_past_spend": np.log(past), "channel": np.where(taste > 0, "web", "shop")}
    )
    covariates.loc[generator.random(customers) < 0.1, "past_spend"] = np.nan
    return covariates, pd.Series(np.where(generator.random(customers) < 0.5, "Cats", "Dogs")), spend


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.5]), st.floats(0.01, 100.0))
def test_invariances(seed: int, share: float, scale: float) -> None:
    covariates, segments, spend = shop(800, seed)
    generator = np.random.default_rng(seed)
    is_held_out, order = generator.random(800) < share, generator.permutation(800)

    def figures(rows: np.ndarray, factor: float) -> list[tuple[float, ...]]:
        found = campaign_effect(
            is_held_out[rows], spend[rows] > 0, factor * spend[rows], planned_share=share, min_group=2,
            segments=segments.iloc[rows], covariates=covariates.iloc[rows],
        )  # fmt: skip
        return [
            (
                one.buyers.difference,
                one.buyers.low,
                one.spend.difference / factor,
                one.spend.high / factor,
                one.spend.p_value,
            )
            for one in (found.overall, *found.segments)
            if one.buyers is not None and one.spend is not None
        ]

    first = figures(np.arange(800), 1.0)
    assert len(first) == 3
    np.testing.assert_allclose(figures(order, 1.0), first, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(figures(np.arange(800), scale), first, rtol=1e-6, atol=1e-8)


def test_covariates_reduce_the_variance_and_find_the_effect() -> None:
    covariates, segments, spend = shop(8_000, 1)
    is_held_out = holdout_groups([str(one) for one in range(8_000)], campaign="a", key="k", share=0.2)
    spend = spend + 2.0 * ~is_held_out
    plain, adjusted = (
        campaign_effect(is_held_out, spend > 15, spend, planned_share=0.2, segments=segments, covariates=some)
        for some in (None, covariates)
    )
    assert (plain.covariate_columns, adjusted.covariate_columns) == (0, 4)
    for one in (adjusted.overall, *adjusted.segments):
        assert one.buyers is not None
        assert one.spend is not None
        assert one.buyers.variance_reduction > 0.05
        assert one.spend.variance_reduction > 0.02
        assert one.spend.low < 2.0 < one.spend.high
    assert plain.overall.spend is not None
    assert adjusted.overall.spend is not None
    width, narrower = (one.high - one.low for one in (plain.overall.spend, adjusted.overall.spend))
    assert (narrower / width) ** 2 == pytest.approx(1 - adjusted.overall.spend.variance_reduction, abs=0.05)


def test_without_an_effect_few_campaigns_have_a_verdict_on_any_segment() -> None:
    covariates, _, spend = shop(6_000, 3)
    generator = np.random.default_rng(6)
    segments = pd.Series(generator.choice(list("abcdefgh"), 6_000))
    given, wrong = 0, 0
    for _ in range(200):
        found = campaign_effect(
            generator.random(6_000) < 0.2, spend > 0, spend, planned_share=0.2, segments=segments, covariates=covariates,
            decide_by="spend",
        )  # fmt: skip
        given += sum(one.spend is not None for one in found.segments)
        wrong += any(one.verdict != "not clear" for one in found.segments)
    assert given == 8 * 200
    # Where nothing is true, the expected share of wrong verdicts is the chance of any verdict at all.
    assert wrong <= stats.binom.ppf(0.99, 200, 0.05)
    assert wrong > 0


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_without_an_effect_one_campaign_in_twenty_finds_one(share: float) -> None:
    covariates, _, spend = shop(4_000, 2)
    ids = [str(one) for one in range(4_000)]
    columns = covariate_columns(covariates)
    outcomes = {"share": (spend > 40).astype(float), "amount": spend}
    splits = 1_000
    rejected = dict.fromkeys([(kind, count) for kind in outcomes for count in (0, columns.shape[1])], 0)
    covered = rejected.copy()
    for split in range(splits):
        is_held_out = holdout_groups(ids, campaign=f"campaign {split}", key="secret", share=share)
        for kind, count in rejected:
            outcome = outcomes[kind]
            adjusted = adjusted_outcome(outcome, columns[:, :count], is_held_out)
            found = estimate_effect(outcome, adjusted, is_held_out, kind=kind)  # type: ignore[arg-type]
            assert found is not None
            rejected[kind, count] += found.p_value <= 0.05
            covered[kind, count] += found.low <= 0.0 <= found.high
    for kind in rejected:
        assert 0.04 <= rejected[kind] / splits <= 0.06, kind
        assert 0.94 <= covered[kind] / splits <= 0.96, kind
