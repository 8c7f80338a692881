"""The effect of a campaign as it is published."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.campaign_effect import CampaignEffect, campaign_effect
from models.published_effect import published_effect


def measured(treated_buyers: int, held_out_buyers: int) -> tuple[CampaignEffect, CampaignEffect]:
    """The exact and the published effect; each buyer spends 20, one of the treated 500."""
    is_held_out = np.repeat([False, True], [2003, 1004])
    is_buyer = np.concatenate([np.arange(2003) < treated_buyers, np.arange(1004) < held_out_buyers])
    spend = np.where(is_buyer, 20.0, 0.0)
    spend[0] = 500.0
    segments = pd.Series(["all"] * len(is_buyer))
    exact = campaign_effect(is_held_out, is_buyer, spend, planned_share=1 / 3, segments=segments)
    return exact, published_effect(exact, is_held_out, is_buyer, spend, segments, min_group=10)


def test_counts_and_means_are_of_rounded_sums() -> None:
    exact, shown = measured(403, 104)
    assert (shown.overall.treated_count, shown.overall.held_out_count) == (2000, 1000)
    assert exact.overall.buyers is not None and shown.overall.buyers is not None and shown.overall.spend is not None
    assert (shown.overall.buyers.treated, shown.overall.buyers.held_out) == (0.2, 0.1)
    # 8,540 by steps of 1,000, twice the largest spend, and 2,080 by steps of 200, ten times the mean.
    assert (shown.overall.spend.treated, shown.overall.spend.held_out) == (4.5, 2.0)
    assert shown.overall.buyers.difference == pytest.approx(0.1) != exact.overall.buyers.difference
    assert shown.overall.buyers.top_customer_share is None
    assert shown.overall.buyers.p_value == float(f"{exact.overall.buyers.p_value:.0e}")
    assert shown.segments[0].buyers == shown.overall.buyers
    assert shown.split.customer_count == 3010


@pytest.mark.parametrize(("treated", "verdict"), [(320, "send"), (110, "do not send"), (215, "not clear")])
def test_rounding_does_not_change_a_verdict_or_the_side_of_an_interval(treated: int, verdict: str) -> None:
    exact, shown = measured(treated, 104)
    assert exact.overall.verdict == shown.overall.verdict == verdict
    assert exact.overall.buyers is not None and shown.overall.buyers is not None
    assert (exact.overall.buyers.low > 0) == (shown.overall.buyers.low > 0)
    assert (exact.overall.buyers.high < 0) == (shown.overall.buyers.high < 0)
    assert shown.overall.buyers.low <= shown.overall.buyers.difference <= shown.overall.buyers.high
