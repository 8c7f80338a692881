from __future__ import annotations

from typing import Any

import pytest

from features.searches import normalised_query, query_categories
from features.sessions import session_table, with_session_key


def at(minute: int, kind: str, who: str = "ann", **more: Any) -> dict[str, Any]:
    return {"customer_id": who, "occurred_at": f"2025-10-01 10:{minute:02}:00", "event_type": kind, **more}


def test_a_silence_begins_a_new_visit(con: Any, events_table: Any) -> None:
    events = events_table([at(0, "view"), at(20, "cart"), at(51, "view"), at(52, "contact"), at(0, "view", "bob")])
    keyed = with_session_key(events, has_session_ids=False, gap_minutes=30)
    visits = con.to_pandas(session_table(keyed).order_by("customer_id", "started_at"))
    assert visits.customer_id.tolist() == ["ann", "ann", "bob"]
    assert visits.has_cart.tolist() == [True, False, False]


def test_events_of_one_moment_share_a_visit(con: Any, events_table: Any) -> None:
    events = events_table([at(0, "view"), at(0, "view"), at(0, "cart"), at(45, "view"), at(45, "cart")])
    keyed = con.to_pandas(with_session_key(events, has_session_ids=False, gap_minutes=30))
    assert keyed.groupby("occurred_at").session_key.nunique().tolist() == [1, 1]
    assert keyed.session_key.nunique() == 2


def test_channels_are_told_in_lower_case(con: Any, events_table: Any) -> None:
    keyed = with_session_key(events_table([at(0, "view", channel="Web")]), has_session_ids=False, gap_minutes=30)
    assert con.to_pandas(session_table(keyed)).channel.tolist() == ["web"]


def test_the_logs_own_sessions_come_first(con: Any, events_table: Any) -> None:
    events = events_table([at(0, "view", session_id="s"), at(59, "view", session_id="s"), at(1, "view")])
    keyed = con.to_pandas(with_session_key(events, has_session_ids=True, gap_minutes=30))
    assert keyed[keyed.session_id == "s"].session_key.nunique() == 1
    assert keyed.session_key.nunique() == 2


def searched(con: Any, events: Any, **changes: Any) -> Any:
    settings = {"window_minutes": 30.0, "min_customers": 1, "prior_searches": 0.0, "min_probability": 0.0, **changes}
    keyed = with_session_key(events, has_session_ids=False, gap_minutes=30)
    keyed = keyed.mutate(query=normalised_query(keyed.query))
    found = con.to_pandas(query_categories(keyed, **settings))
    return found.set_index(["query", "column"]).probability.to_dict()


def test_a_query_means_what_follows_it(con: Any, events_table: Any) -> None:
    log = [
        at(0, "view", column=9),  # before the search: says nothing of it
        at(1, "search", query="  Cat   LITTER "),
        at(2, "view", column=0),
        at(3, "cart", column=0),
        at(4, "view", column=1),
        at(5, "search", query="lamp"),
        at(6, "view", column=2),
        at(0, "search", "bob", query="cat litter"),  # leads nowhere
    ]
    found = searched(con, events_table(log, column="int64"))
    assert found == {
        ("cat litter", 0): pytest.approx(2 / 3 / 2, abs=1e-8),
        ("cat litter", 1): pytest.approx(1 / 3 / 2, abs=1e-8),
        ("lamp", 2): pytest.approx(1.0, abs=1e-8),
    }


def test_rare_queries_promise_little_and_private_ones_are_left_out(con: Any, events_table: Any) -> None:
    log = [at(1, "search", query="lamp"), at(2, "view", column=2)]
    events = events_table(log, column="int64")
    assert searched(con, events, prior_searches=3.0) == {("lamp", 2): pytest.approx(0.25, abs=1e-8)}
    assert searched(con, events, min_customers=2) == {}


def test_what_people_stray_into_is_left_out(con: Any, events_table: Any) -> None:
    log = [at(1, "search", query="lamp"), *[at(minute, "view", column=2) for minute in range(2, 11)]]
    events = events_table([*log, at(11, "view", column=0)], column="int64")
    assert set(searched(con, events, min_probability=0.09)) == {("lamp", 0), ("lamp", 2)}
    assert searched(con, events, min_probability=0.11) == {("lamp", 2): pytest.approx(0.9, abs=1e-8)}
