"""What customers bought in the time that counts, and the words for what a campaign brought."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.audiences.build import HELD_OUT, SEND, Audience
from pipeline.audiences.effect import (
    MeasuredEffect,
    effect_by_facet,
    keep_effect,
    kept_effect,
    measure_effect,
    purchases,
)
from pipeline.audiences.selection import AudienceError
from pipeline.audiences.storage import StoredAudience, store
from pipeline.commands.actions.effect import as_text, effect_sentences
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


def customers_who_bought(
    table: pd.DataFrame, shares: dict[tuple[str, str], float], paid: dict[str, float] | None = None
) -> pd.DataFrame:
    """The first customers of each segment and group, by their share; each paid 20, or what ``paid`` says of a group."""
    parts = [
        rows.head(round(shares[str(key[0]), str(key[1])] * len(rows)))
        for key, rows in table.groupby(["segment", "group"])
    ]
    buyers = pd.concat(parts)
    spend = buyers["group"].map({SEND: 20.0, HELD_OUT: 20.0, **(paid or {})})
    return pd.DataFrame({"customer_id": buyers.customer_id, "order_count": 1, "spend": spend})


def kept_audience(folder: Path, table: pd.DataFrame, planned_share: float = 0.5) -> StoredAudience:
    definition = AudienceParams.model_validate({"where": {}, "holdout_share": planned_share})
    return store(folder, Audience("spring", SINCE, definition, table), model_uri="")


def measured_of(
    shares: dict[tuple[str, str], float],
    planned_share: float = 0.5,
    decide_by: str = "buyers",
    paid: dict[str, float] | None = None,
) -> MeasuredEffect:
    table = groups(2000)
    by_facet = effect_by_facet(
        table,
        customers_who_bought(table, shares, paid),
        has_spend=True,
        planned_share=planned_share,
        decide_by=decide_by,  # type: ignore[arg-type]
        min_group=10,
    )
    return MeasuredEffect("spring", SINCE, UNTIL, UNTIL, decide_by, by_facet)  # type: ignore[arg-type]


def text_of(*args, **options) -> str:
    measured = measured_of(*args, **options)
    return as_text(measured, effect_sentences(measured, silence_days=7, currency="EUR"), currency="EUR")


def test_sentences_say_whom_to_send_next_time_and_whom_not() -> None:
    shares = {("VIP", SEND): 0.3, ("VIP", HELD_OUT): 0.2, ("Lapsed", SEND): 0.05, ("Lapsed", HELD_OUT): 0.15}
    text = text_of(shares)
    assert "2,000 treated, 2,000 held out" in text
    assert "17.5% of the treated bought, 17.5% of those held out" in text
    assert "send to VIP. do not send to Lapsed, who bought less." in text
    assert "EUR" in text
    assert "Warning" not in text


def test_a_split_that_is_not_as_planned_gives_no_verdict() -> None:
    shares = {
        (segment, group): 0.3 if group == SEND else 0.1 for segment in ("VIP", "Lapsed") for group in (SEND, HELD_OUT)
    }
    assert "send to Lapsed; VIP." in text_of(shares)
    text = text_of(shares, planned_share=0.1)
    assert "Warning: 50.0% of customers were held out, 10.0% were planned" in text
    assert "send to" not in text


@pytest.mark.parametrize("hidden", [(SEND, 0.004), (HELD_OUT, 0.004)])
def test_small_groups_of_buyers_are_not_shown(hidden: tuple[str, float]) -> None:
    shares = {(segment, group): 0.2 for segment in ("VIP", "Lapsed") for group in (SEND, HELD_OUT)}
    shares["VIP", hidden[0]] = hidden[1]
    row = next(line for line in text_of(shares).splitlines() if line.startswith("VIP"))
    assert row.split() == ["VIP", "1,000", "1,000", "too", "few", "buyers"]


def test_purchases_count_from_the_audience_until_the_end(con, events_table, tmp_path: Path) -> None:
    table = groups(40, segments=("VIP",))
    moments = ["2025-11-30 23:59:59", "2025-12-01 00:00:00", "2025-12-31 23:59:59", "2026-01-01 00:00:00"]
    events = events_table(
        [bought(customer, moments[place % 4], order_id="1") for place, customer in enumerate(table.customer_id)]
    )
    kept = kept_audience(tmp_path, table)
    measured = measure_effect(con, events, kept, until=UNTIL, decide_by="buyers", min_group=1)
    overall = measured.by_facet["segment"].overall
    assert (overall.buyers.treated, overall.buyers.held_out) == (0.5, 0.5)
    assert measured.last_event_at == datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert np.isclose(overall.spend.treated, 5.0)


EQUAL = {(segment, group): 0.2 for segment in ("VIP", "Lapsed") for group in (SEND, HELD_OUT)}


def test_verdicts_by_spend_say_what_those_by_buyers_cannot() -> None:
    more = {"paid": {SEND: 30.0}}
    assert "This may be chance" in text_of(EQUAL, **more) and "not clear for Lapsed; VIP" in text_of(EQUAL, **more)
    text = text_of(EQUAL, decide_by="spend", **more)
    first = text.splitlines()[1]
    assert first.startswith("The treated spent 6.00 EUR each, those held out 4.00 EUR: ")
    assert first.endswith("The campaign made customers spend more.")
    assert "next time: send to Lapsed; VIP." in text
    row = next(line for line in text.splitlines() if line.startswith("VIP"))
    assert row.split()[:8] == ["VIP", "1,000", "1,000", "6.00", "EUR", "4.00", "EUR", "+2.10"] and row.endswith("send")
    assert "do not send to Lapsed; VIP, who spent less." in text_of(EQUAL, decide_by="spend", paid={SEND: 10.0})
    assert "not clear for Lapsed; VIP" in text_of(EQUAL, decide_by="spend")


def test_small_groups_of_buyers_have_no_spend_either() -> None:
    text = text_of(EQUAL | {("VIP", SEND): 0.004}, decide_by="spend", paid={SEND: 30.0})
    row = next(line for line in text.splitlines() if line.startswith("VIP"))
    assert row.split() == ["VIP", "1,000", "1,000", "too", "few", "buyers"]


def test_spend_cannot_decide_without_prices(con, events_table, tmp_path: Path) -> None:
    kept = kept_audience(tmp_path, groups(40))
    events = events_table([bought("VIP-send-1", "2025-12-02", None, order_id="1")])  # type: ignore[arg-type]
    with pytest.raises(AudienceError, match="--by spend: expected purchases with a price"):
        measure_effect(con, events, kept, until=UNTIL, decide_by="spend", min_group=10)


def test_a_kept_effect_is_read_back_without_figures_of_one_customer_or_of_small_groups(tmp_path: Path) -> None:
    kept = kept_audience(tmp_path, groups(2000))
    assert kept_effect(kept) is None
    measured = measured_of(EQUAL | {("VIP", SEND): 0.004})
    keep_effect(kept, measured, ["A sentence."])
    text = kept.effect_path.read_text(encoding="utf-8")
    assert "A sentence." in text and "VIP-send" not in text
    assert all('"top_customer_share": null' in line for line in text.splitlines() if "top_customer_share" in line)
    found = kept_effect(kept)
    assert (
        found is not None and found.overall.overall.buyers is not None and measured.overall.overall.buyers is not None
    )
    assert (found.until, found.decided_by) == (UNTIL, "buyers")
    assert found.overall.overall.buyers.difference == measured.overall.overall.buyers.difference
    hidden = next(group for group in found.by_facet["segment"].segments if group.segment == "VIP")
    assert (hidden.buyers, hidden.spend, hidden.missing) == (None, None, "too few buyers")
    keep_effect(kept, measured, ["A sentence."])
    assert kept.effect_path.read_text(encoding="utf-8") == text


def test_an_effect_that_cannot_be_read_or_of_another_draw_is_not_shown(tmp_path: Path) -> None:
    kept = kept_audience(tmp_path, groups(2000))
    kept.effect_path.write_text('{"by_facet": {}}', encoding="utf-8")
    assert kept_effect(kept) is None
    keep_effect(kept, measured_of(EQUAL), [])
    assert kept_effect(kept) is not None
    kept.path.unlink()
    assert kept_effect(kept_audience(tmp_path, groups(1000))) is None
