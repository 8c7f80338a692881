"""What customers bought in the time that counts, and the words for what a campaign brought."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.audiences.build import HELD_OUT, SEND, Audience
from pipeline.audiences.effect import MeasuredEffect, effect_by_facet, measure_effect, purchases
from pipeline.audiences.storage import store
from pipeline.commands.actions.effect import as_text
from pipeline.config.sections.audiences import AudienceParams

SINCE, UNTIL = datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)


def bought(customer: str, moment: str, price: float = 10.0, kind: str = "purchase", **more: object) -> dict:
    return {"customer_id": customer, "occurred_at": moment, "event_type": kind, "unit_price": price, **more}


def test_spend_is_net_of_refunds_and_a_return_alone_is_no_purchase(con, events_table) -> None:
    events = events_table(
        [
            bought("a", "2025-12-02", order_id="1"),
            bought("a", "2025-12-02", 5.0, order_id="1", discount=1.0),
            bought("a", "2025-12-09", 3.0, kind="return"),
            bought("a", "2025-12-10", order_id="2"),
            bought("b", "2025-12-03", kind="return"),
            bought("c", "2025-12-03", kind="view"),
        ]
    )
    found = purchases(con, events)
    assert found.to_dict("records") == [{"customer_id": "a", "order_count": 2, "spend": 21.0}]


def groups(count: int, segments: tuple[str, ...] = ("VIP", "Lapsed")) -> pd.DataFrame:
    """Half of ``count`` customers of each segment held out."""
    rows = [
        {"customer_id": f"{segment}-{group}-{number}", "group": group, "segment": segment, "spend": float(number % 7)}
        for segment in segments
        for group in (SEND, HELD_OUT)
        for number in range(count // 2)
    ]
    return pd.DataFrame(rows)


def customers_who_bought(table: pd.DataFrame, shares: dict[tuple[str, str], float]) -> pd.DataFrame:
    """The first customers of each segment and group, by their share."""
    parts = [
        rows.customer_id.head(round(shares[str(key[0]), str(key[1])] * len(rows)))
        for key, rows in table.groupby(["segment", "group"])
    ]
    ids = pd.concat(parts)
    return pd.DataFrame({"customer_id": ids, "order_count": 1, "spend": 20.0})


def text_of(tmp_path: Path, shares: dict[tuple[str, str], float], planned_share: float = 0.5) -> str:
    table = groups(2000)
    by_facet = effect_by_facet(
        table, customers_who_bought(table, shares), has_spend=True, planned_share=planned_share, min_group=10
    )
    definition = AudienceParams.model_validate({"where": {}, "holdout_share": planned_share})
    kept = store(tmp_path, Audience("spring", SINCE, definition, table), model_uri="")
    return as_text(MeasuredEffect(kept, UNTIL, by_facet, UNTIL), silence_days=7, currency="EUR")


def test_sentences_say_whom_to_send_next_time_and_whom_not(tmp_path: Path) -> None:
    shares = {("VIP", SEND): 0.3, ("VIP", HELD_OUT): 0.2, ("Lapsed", SEND): 0.05, ("Lapsed", HELD_OUT): 0.15}
    text = text_of(tmp_path, shares)
    assert "2,000 treated, 2,000 held out" in text
    assert "17.5% of the treated bought, 17.5% of those held out" in text
    assert "send to VIP. do not send to Lapsed, who bought less." in text
    assert "EUR" in text
    assert "Warning" not in text


def test_a_split_that_is_not_as_planned_gives_no_verdict(tmp_path: Path) -> None:
    shares = {
        (segment, group): 0.3 if group == SEND else 0.1 for segment in ("VIP", "Lapsed") for group in (SEND, HELD_OUT)
    }
    assert "send to Lapsed; VIP." in text_of(tmp_path, shares)
    text = text_of(tmp_path, shares, planned_share=0.1)
    assert "Warning: 50.0% of customers were held out, 10.0% were planned" in text
    assert "send to" not in text


@pytest.mark.parametrize("hidden", [(SEND, 0.004), (HELD_OUT, 0.004)])
def test_small_groups_of_buyers_are_not_shown(tmp_path: Path, hidden: tuple[str, float]) -> None:
    shares = {(segment, group): 0.2 for segment in ("VIP", "Lapsed") for group in (SEND, HELD_OUT)}
    shares["VIP", hidden[0]] = hidden[1]
    row = next(line for line in text_of(tmp_path, shares).splitlines() if line.startswith("VIP"))
    assert row.split() == ["VIP", "1,000", "1,000", "too", "few", "buyers"]


def test_purchases_count_from_the_audience_until_the_end(con, events_table, tmp_path: Path) -> None:
    table = groups(40, segments=("VIP",))
    moments = ["2025-11-30 23:59:59", "2025-12-01 00:00:00", "2025-12-31 23:59:59", "2026-01-01 00:00:00"]
    events = events_table(
        [bought(customer, moments[place % 4], order_id="1") for place, customer in enumerate(table.customer_id)]
    )
    definition = AudienceParams.model_validate({"where": {}, "holdout_share": 0.5})
    kept = store(tmp_path, Audience("spring", SINCE, definition, table), model_uri="")
    measured = measure_effect(con, events, kept, until=UNTIL, min_group=1)
    overall = measured.by_facet["segment"].overall
    assert (overall.buyers.treated, overall.buyers.held_out) == (0.5, 0.5)
    assert measured.last_event_at == datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert np.isclose(overall.spend.treated, 5.0)
