from __future__ import annotations

from typing import Any

import ibis
import pytest

from features.events import EventType
from features.searches import MAX_QUERY_LENGTH, normalised_query, query_categories
from features.sessions import session_table, with_session_key
from models.queries import folded

ALL_KINDS = (EventType.VIEW, EventType.FAVOURITE, EventType.CART, EventType.PURCHASE)


def at(minute: int, kind: str, customer: str = "ann", **more: Any) -> dict[str, Any]:
    return {"customer_id": customer, "occurred_at": f"2025-10-01 10:{minute:02}:00", "event_type": kind, **more}


def test_a_gap_starts_a_new_visit(con: Any, events_table: Any) -> None:
    events = events_table(
        [at(0, "view"), at(20, "cart"), at(51, "view"), at(52, "contact"), at(53, "redemption"), at(0, "view", "bob")]
    )
    keyed = with_session_key(events, has_session_ids=False, gap_minutes=30)
    visits = con.to_pandas(session_table(keyed).order_by("customer_id", "started_at"))
    assert visits.customer_id.tolist() == ["ann", "ann", "bob"]
    assert visits.has_cart.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("kinds", "is_left"),
    [
        ("c", True),
        ("c r", False),
        ("c c r r", False),
        ("c c r", True),
        ("r c", True),  # removes an item added in an earlier visit
        ("c r c", True),
        ("c r p", False),
        ("c p", False),
        ("r", False),
        ("v", False),
    ],
)
def test_an_emptied_cart_is_not_left(con: Any, events_table: Any, kinds: str, is_left: bool) -> None:
    names = {"c": "cart", "r": "remove_from_cart", "p": "purchase", "v": "view"}
    events = events_table([at(minute, names[kind]) for minute, kind in enumerate(kinds.split())])
    (visit,) = con.to_pandas(
        session_table(with_session_key(events, has_session_ids=False, gap_minutes=30))
    ).itertuples()
    assert (visit.has_left_cart, visit.has_cart) == (is_left, "c" in kinds)
    # At the same moment, as in a log of dates, only the counts decide.
    events = events_table([at(0, names[kind]) for kind in kinds.split()])
    keyed = with_session_key(events, has_session_ids=False, gap_minutes=30)
    assert con.to_pandas(session_table(keyed)).has_left_cart[0] == (is_left and kinds != "r c")


def test_events_at_the_same_moment_share_a_visit(con: Any, events_table: Any) -> None:
    events = events_table([at(0, "view"), at(0, "view"), at(0, "cart"), at(45, "view"), at(45, "cart")])
    keyed = con.to_pandas(with_session_key(events, has_session_ids=False, gap_minutes=30))
    assert keyed.groupby("occurred_at").session_key.nunique().tolist() == [1, 1]
    assert keyed.session_key.nunique() == 2


def test_the_first_channel_of_a_visit_counts(con: Any, events_table: Any) -> None:
    for channels, expected in ((["web"], "web"), (["web", "app"], "app")):
        events = events_table([at(0, "view", channel=channel) for channel in channels])
        keyed = with_session_key(events, has_session_ids=False, gap_minutes=30)
        assert con.to_pandas(session_table(keyed)).channel.tolist() == [expected]


def test_session_ids_of_the_log_take_precedence(con: Any, events_table: Any) -> None:
    events = events_table([at(0, "view", session_id="s"), at(59, "view", session_id="s"), at(1, "view")])
    keyed = con.to_pandas(with_session_key(events, has_session_ids=True, gap_minutes=30))
    assert keyed[keyed.session_id == "s"].session_key.nunique() == 1
    assert keyed.session_key.nunique() == 2


def probabilities(con: Any, events: Any, **changes: Any) -> Any:
    settings = {
        "window_minutes": 30.0,
        "min_customers": 1,
        "prior_searches": 0.0,
        "min_probability": 0.0,
        "outcome_weights": dict.fromkeys(ALL_KINDS, 1.0),
        "half_life_minutes": 1e9,
        **changes,
    }
    keyed = with_session_key(events, has_session_ids=False, gap_minutes=30)
    keyed = keyed.mutate(query=normalised_query(keyed.query))
    meanings = con.to_pandas(query_categories(keyed, **settings))
    return meanings.set_index(["query", "column"]).probability.to_dict()


def test_a_query_means_the_categories_that_follow(con: Any, events_table: Any) -> None:
    log = [
        at(0, "view", column=9),  # before the search: ignored
        at(1, "search", query="  Cat   LITTER "),
        at(2, "view", column=0),
        at(3, "cart", column=0),
        at(4, "view", column=1),
        at(5, "search", query="lamp"),
        at(6, "view", column=2),
        at(0, "search", "bob", query="cat litter"),  # no actions follow
    ]
    by_query = probabilities(con, events_table(log, column="int64"))
    assert by_query == {
        ("cat litter", 0): pytest.approx(2 / 3 / 2, abs=1e-8),
        ("cat litter", 1): pytest.approx(1 / 3 / 2, abs=1e-8),
        ("lamp", 2): pytest.approx(1.0, abs=1e-8),
    }


def test_rare_queries_have_low_probabilities_and_private_ones_are_left_out(con: Any, events_table: Any) -> None:
    log = [at(1, "search", query="lamp"), at(2, "view", column=2)]
    events = events_table(log, column="int64")
    assert probabilities(con, events, prior_searches=3.0) == {("lamp", 2): pytest.approx(0.25, abs=1e-8)}
    assert probabilities(con, events, min_customers=2) == {}


def test_improbable_categories_are_left_out(con: Any, events_table: Any) -> None:
    log = [at(1, "search", query="lamp"), *[at(minute, "view", column=2) for minute in range(2, 11)]]
    events = events_table([*log, at(11, "view", column=0)], column="int64")
    assert set(probabilities(con, events, min_probability=0.09)) == {("lamp", 0), ("lamp", 2)}
    assert probabilities(con, events, min_probability=0.11) == {("lamp", 2): pytest.approx(0.9, abs=1e-8)}


def test_only_the_first_searches_of_a_visit_count(con: Any, events_table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("features.searches.MAX_SEARCHES_PER_VISIT", 2)
    log = [at(1, "search", query="lamp"), at(3, "search", query="cat"), at(5, "search", query="sofa")]
    log += [at(2, "view", column=0), at(4, "view", column=1), at(6, "view", column=2)]
    assert set(probabilities(con, events_table(log, column="int64"))) == {("lamp", 0), ("cat", 1)}


def test_purchases_and_immediate_actions_weigh_more(con: Any, events_table: Any) -> None:
    log = [
        at(1, "search", query="lamp"),
        at(2, "view", column=0),
        at(2, "purchase", column=1),
        at(1, "search", "bob", query="lamp"),  # no actions follow
    ]
    events = events_table(log, column="int64")
    weights = {EventType.VIEW: 1.0, EventType.PURCHASE: 3.0}
    # 1/4 and 3/4 of a search with weight 3, out of a total weight of 4.
    assert probabilities(con, events, outcome_weights=weights) == {
        ("lamp", 0): pytest.approx(3 / 4 / 4, abs=1e-8),
        ("lamp", 1): pytest.approx(9 / 4 / 4, abs=1e-8),
    }
    later = [at(0, "search", query="sofa"), at(0, "view", column=0), at(10, "view", column=1)]
    by_query = probabilities(con, events_table(later, column="int64"), half_life_minutes=10.0)
    assert by_query == {("sofa", 0): pytest.approx(2 / 3, abs=1e-8), ("sofa", 1): pytest.approx(1 / 3, abs=1e-8)}


def test_actions_that_come_far_too_late_do_not_count(con: Any, events_table: Any) -> None:
    late = [at(0, "search", query="sofa"), at(28, "view", column=0)]
    soon = [at(0, "search", "bob", query="sofa"), at(0, "view", "bob", column=0)]
    by_query = probabilities(con, events_table(late + soon, column="int64"), half_life_minutes=0.5)
    assert by_query == {("sofa", 0): pytest.approx(1 / 2)}


def test_many_clicks_do_not_outweigh_a_purchase(con: Any, events_table: Any) -> None:
    log = [at(0, "search", query="gift"), *[at(minute, "view", column=0) for minute in range(1, 21)]]
    log += [at(0, "search", "bob", query="gift"), at(1, "view", "bob", column=1), at(2, "purchase", "bob", column=1)]
    weights = {EventType.VIEW: 1.0, EventType.PURCHASE: 4.0}
    by_query = probabilities(con, events_table(log, column="int64"), outcome_weights=weights)
    assert by_query == {("gift", 0): pytest.approx(0.2, abs=1e-8), ("gift", 1): pytest.approx(0.8, abs=1e-8)}


UNUSUAL_QUERIES = (
    "  Корм   для КОТІВ! ",
    "м'ята",
    "м’ята",
    "ﬁsh\u2014tank",
    "\u0130stanbul \u1e9e ΣΑΣ",
    "😀",
    "שלום, עולם",
    "قطة‎",
    "'; DROP TABLE events; --",
    "<b>cat</b> food",
    "हिन्दी ﾊﾝ１２",
    "a\u00a0b x_y",
    "e\u0308 ç",
    "",
    " \t\n",
    "?!",
    "q" * 10_000,
    "ab " * 4_000,
)


def test_a_query_and_its_normalised_form_fold_to_the_same_text(con: Any) -> None:
    table = ibis.memtable({"number": range(len(UNUSUAL_QUERIES)), "query": UNUSUAL_QUERIES})
    normalised = (
        table.mutate(query=normalised_query(table["query"])).order_by("number").to_pyarrow()["query"].to_pylist()
    )
    assert [folded(query or "") for query in normalised] == [folded(query) for query in UNUSUAL_QUERIES]
    assert normalised[0] == "корм для котів"
    assert normalised[1] == normalised[2] == "мята"
    assert normalised[5] is None and normalised[13] is None and normalised[14] is None and normalised[15] is None
    assert max(len(query or "") for query in normalised) <= MAX_QUERY_LENGTH


def test_session_keys_use_types_that_spark_has() -> None:
    events = ibis.table(
        {"customer_id": "int64", "occurred_at": "timestamp", "event_type": "string", "session_id": "string"}, "events"
    )
    keyed = with_session_key(events, has_session_ids=True, gap_minutes=30)
    sql = str(ibis.to_sql(keyed, dialect="pyspark"))
    assert "HASH" in sql and "UBIGINT" not in sql
