from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest

from features.categories import OTHER, CategoryCut
from features.events import EventType, ObservationWindow
from features.interests import event_evidence, is_counted, own_weight, segment_weights
from models.interests import interest_shares
from models.tree import cut_levels
from tests.interest_shares import shares_by_customer

CUT = CategoryCut(level=2, categories=("Pets > Cats", "Pets > Dogs", "Home > Lamps", OTHER), mix=(0.4, 0.2, 0.3, 0.1))
WEIGHTS = {EventType.VIEW: 1.0, EventType.SEARCH: 1.0, EventType.PURCHASE: 4.0}


def with_last(events: Any) -> Any:
    """Events with the time of their customer's last counted event."""
    last = events.group_by("customer_id").aggregate(
        last_counted_at=events.occurred_at.max(where=is_counted(events, WEIGHTS))
    )
    return events.join(last, "customer_id")


def shares(con: Any, events: Any, queries: Any = None, **changes: Any) -> pd.DataFrame:
    events = with_last(events)
    weight = own_weight(events, **{"signal_weights": WEIGHTS, "half_life_days": 10.0, **changes})
    return shares_by_customer(con, event_evidence(events, queries, weight=weight), CUT, kappa=2.0)


def rows(*events: tuple[str, str, str, int]) -> list[dict[str, Any]]:
    return [
        {"customer_id": customer, "occurred_at": at, "event_type": kind, "product_id": "p", "column": column}
        for customer, at, kind, column in events
    ]


BASIC = rows(
    ("ann", "2025-10-31", "view", 0),  # her last event: 1
    ("ann", "2025-10-21", "purchase", 2),  # 10 days before it: 4 * 0.5
    ("ann", "2025-10-30", "contact", 1),  # does not count
    ("bob", "2025-02-12", "view", 1),  # his only event: 1, however old
)


def test_shares_computed_by_hand(con: Any, events_table: Any, window: ObservationWindow) -> None:
    result = shares(con, events_table(BASIC, column="int64"))
    cats, lamps = 1.0, 2.0
    total = cats + lamps
    pets = (cats + 2.0 * 0.6) / (total + 2.0)
    home = (lamps + 2.0 * 0.3) / (total + 2.0)
    other = (2.0 * 0.1) / (total + 2.0)
    expected = {
        "evidence": total,
        "interest: Pets > Cats": pets * (cats + 2.0 * 0.4 / 0.6) / (cats + 2.0),
        "interest: Pets > Dogs": pets * (0.0 + 2.0 * 0.2 / 0.6) / (cats + 2.0),
        "interest: Home > Lamps": home,
        f"interest: {OTHER}": other,
    }
    for name, value in expected.items():
        assert result.loc["ann", name] == pytest.approx(value, abs=2e-9), name


def test_shares_sum_to_one(con: Any, events_table: Any, window: ObservationWindow) -> None:
    result = shares(con, events_table(BASIC, column="int64"))
    np.testing.assert_allclose(result.drop(columns="evidence").sum(axis=1), 1.0, atol=1e-12)


def test_a_little_evidence_also_raises_siblings(con: Any, events_table: Any, window: ObservationWindow) -> None:
    result = shares(con, events_table(BASIC, column="int64")).loc["bob"]
    assert result["evidence"] == 1.0
    assert result["interest: Pets > Cats"] > CUT.mix[0] * 2.0 / 3.0
    assert result["interest: Home > Lamps"] < CUT.mix[2]


def test_order_of_events_does_not_change_a_bit(con: Any, events_table: Any, window: ObservationWindow) -> None:
    generator = np.random.default_rng(3)
    many = [
        {
            "customer_id": f"c{generator.integers(20)}",
            "occurred_at": pd.Timestamp("2025-05-01") + timedelta(seconds=int(generator.integers(15_000_000))),
            "event_type": str(generator.choice(["view", "purchase"])),
            "product_id": "p",
            "column": int(generator.integers(4)),
        }
        for _ in range(3_000)
    ]
    shuffled = [many[i] for i in generator.permutation(len(many))]
    first = shares(con, events_table(many, column="int64"))
    second = shares(con, events_table(shuffled, column="int64"))
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_scaling_all_weights_scales_evidence(con: Any, events_table: Any, window: ObservationWindow) -> None:
    events = events_table(BASIC, column="int64")
    once = shares(con, events)
    twice = shares(con, events, signal_weights={kind: 2.0 * weight for kind, weight in WEIGHTS.items()})
    np.testing.assert_allclose(twice.evidence, 2.0 * once.evidence, atol=1e-8)


def test_shares_do_not_change_as_time_passes(con: Any, events_table: Any) -> None:
    """Shares depend on a customer's own events: shifting all of them changes nothing, nor does a later contact."""
    first = shares(con, events_table(BASIC, column="int64"))
    earlier = [
        {**row, "occurred_at": pd.Timestamp(row["occurred_at"]) - timedelta(days=100)}
        if row["customer_id"] == "ann"
        else row
        for row in BASIC
    ]
    pd.testing.assert_frame_equal(first, shares(con, events_table(earlier, column="int64")), check_exact=True)
    with_contact = [*BASIC, *rows(("ann", "2025-11-20", "contact", 0))]
    pd.testing.assert_frame_equal(first, shares(con, events_table(with_contact, column="int64")), check_exact=True)


def test_a_later_view_halves_events_one_half_life_older(con: Any, events_table: Any) -> None:
    later = [*BASIC, *rows(("ann", "2025-11-10", "view", 1))]
    result = shares(con, events_table(later, column="int64")).loc["ann"]
    assert result["evidence"] == pytest.approx(1.0 + 0.5 + 4.0 * 0.25, abs=2e-9)


def test_counted_events_have_a_weight_and_a_category_source(con: Any, events_table: Any) -> None:
    kinds = [
        {"event_type": "view", "product_id": "p"},
        {"event_type": "view", "category_path": "Pets"},
        {"event_type": "search", "query": "cats"},
        {"event_type": "search", "product_id": "p"},
        {"event_type": "contact", "product_id": "p"},
        {"event_type": "remove_from_cart", "product_id": "p"},
    ]
    events = events_table(
        [{"customer_id": str(number), "occurred_at": "2025-10-01", **kind} for number, kind in enumerate(kinds)]
    )
    counted = events.filter(is_counted(events, {**WEIGHTS, EventType.REMOVE_FROM_CART: 0.0}))
    assert sorted(con.to_pandas(counted).customer_id) == ["0", "1", "2"]


@pytest.mark.parametrize("half_life_days", [1e-3, 1e6])
def test_uncounted_events_never_count_however_late(con: Any, events_table: Any, half_life_days: float) -> None:
    """A contact a year after the last view: 0 times a large power is 0 and not NaN."""
    late = [*rows(("ann", "2024-11-05", "view", 0), ("ann", "2025-10-31", "contact", 1))]
    result = shares(con, events_table(late, column="int64"), half_life_days=half_life_days).loc["ann"]
    assert result["evidence"] == 1.0


def test_a_search_reaches_categories_only_through_its_query(
    con: Any, events_table: Any, window: ObservationWindow
) -> None:
    search = {"customer_id": "ann", "occurred_at": "2025-10-22", "event_type": "search"}
    unknown = {**search, "occurred_at": "2025-11-01", "query": "unknown"}
    events = events_table([{**search, "query": "litter"}, unknown], column="int64")
    queries = ibis.memtable({"query": ["litter", "litter"], "column": [0, 1], "probability": [0.6, 0.2]})
    result = shares(con, events, queries).loc["ann"]
    assert result["evidence"] == pytest.approx(0.5 * 0.8, abs=2e-9)
    with_category = events_table([{**search, "query": "litter", "column": 3}, unknown], column="int64")
    pd.testing.assert_series_equal(shares(con, with_category, queries).loc["ann"], result)
    assert len(shares(con, events, None)) == 0


def test_window_excludes_as_of_and_older_events(con: Any, events_table: Any, window: ObservationWindow) -> None:
    times = ["2025-11-01 00:00:00", "2025-10-31 23:59:59", "2024-11-01 00:00:00", "2024-10-31 23:59:59"]
    events = events_table(
        [{"customer_id": str(i), "occurred_at": moment, "event_type": "view"} for i, moment in enumerate(times)]
    )
    assert sorted(con.to_pandas(window.of(events)).customer_id) == ["1", "2"]


def test_as_of_without_a_time_zone_is_an_error() -> None:
    with pytest.raises(ValueError, match="time zone"):
        ObservationWindow(pd.Timestamp("2025-11-01").to_pydatetime(), 365)


def test_parents_that_differ_only_in_case_are_the_same(con: Any, events_table: Any, window: ObservationWindow) -> None:
    events = events_table(BASIC, column="int64")
    events = with_last(events)
    weight = own_weight(events, signal_weights=WEIGHTS, half_life_days=10.0)
    tables = []
    for dogs in ("Pets > Dogs", "PETS > Dogs"):
        cut = CategoryCut(2, ("Pets > Cats", dogs, *CUT.categories[2:]), CUT.mix)
        table = shares_by_customer(con, event_evidence(events, None, weight=weight), cut, kappa=2.0)
        assert f"interest: {dogs}" in table.columns
        tables.append(table.to_numpy())
    np.testing.assert_allclose(tables[0], tables[1])


def test_segment_weights_divide_each_customer_among_periods_and_categories(con: Any) -> None:
    evidence = pd.DataFrame(
        {
            "customer_id": [0, 0, 0, 1],
            "occurred_at": pd.to_datetime(["2025-10-31", "2025-10-19", "2025-10-19", "2025-10-31"]),
            "column": [0, 0, 1, 1],
            "weight": [1.0, 1.0, 2.0, 12.0],
        }
    )
    customers = pd.DataFrame(
        {"customer_id": [0, 1], "segment_id": ["s1", "s1"], "share_per_evidence": [1 / (4 + 4), 1 / (12 + 4)]}
    )
    window = ObservationWindow(datetime(2025, 11, 1, tzinfo=UTC), 365)
    weights = con.to_pandas(
        segment_weights(ibis.memtable(evidence), ibis.memtable(customers), window=window, period_days=10.0)
    ).set_index(["period", "column"])
    assert weights.weight.to_dict() == {(0, 0): 1 / 8, (1, 0): 1 / 8, (1, 1): 2 / 8, (0, 1): 12 / 16}
    assert set(weights.segment_id) == {"s1"}


def test_customers_without_evidence_get_the_mix_of_the_shop() -> None:
    shares = interest_shares(np.array([[0.0, 1.0], [0.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), cut_levels(CUT), kappa=2.0)
    np.testing.assert_allclose(shares[:, 0], CUT.mix)
    np.testing.assert_allclose(shares.sum(axis=0), 1.0)


def test_shares_do_not_depend_on_the_other_customers_of_a_batch() -> None:
    """With few categories, sums in any order would be equal."""
    names = tuple(f"Level {number // 20} > Category {number}" for number in range(199))
    cut = CategoryCut(2, (*names, OTHER), (1 / 200,) * 200)
    evidence = np.random.default_rng(0).random((200, 5000)) * 10.0
    whole = interest_shares(evidence, cut_levels(cut), kappa=2.0)
    for start, end in ((0, 1), (7, 8), (3, 10), (9, 26), (100, 1103), (1, 5000)):
        part = interest_shares(np.ascontiguousarray(evidence[:, start:end]), cut_levels(cut), kappa=2.0)
        np.testing.assert_array_equal(part, whole[:, start:end])
