from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipeline.audiences.build import HELD_OUT, SEND, Audience, Excluded, build_audience
from pipeline.audiences.selection import AudienceError, meets
from pipeline.audiences.summary import effect_text
from pipeline.config.sections.audiences import AudienceParams, Bounds

N = 1000


@pytest.fixture(scope="module")
def con() -> Iterator[ibis.backends.duckdb.Backend]:
    connection = ibis.duckdb.connect()
    yield connection
    connection.disconnect()


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "customer_id": [f"c{number:04}" for number in rng.permutation(N)],
            "segment_id": rng.choice(["s1", "s2"], N),
            "segment": rng.choice(["VIP", "Lapsed"], N),
            "is_border": rng.random(N) < 0.2,
            "order_count": rng.integers(0, 5, N).astype(float),
            "spend": np.where(rng.random(N) < 0.3, np.nan, rng.integers(0, 50, N)),
            "temperature": np.where(rng.random(N) < 0.1, None, rng.choice(["hot", "warm", "it's cold"], N)),
            "journey_events": [["left_cart"], [], ["left_cart", "bought_once"], []] * (N // 4),
            "top_categories": [["Pets > Cats", "Toys"], ["Home > Pets"], []] * (N // 3) + [["Cats"]],
            "buy_probability": rng.uniform(0.02, 0.06, N),
        }
    )


@pytest.fixture(scope="module")
def scores(con: ibis.backends.duckdb.Backend, frame: pd.DataFrame) -> ibis.Table:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    as_of = pa.array([datetime(2025, 12, 1, tzinfo=UTC)] * N, pa.timestamp("us", "UTC"))
    return con.create_table("scores", table.append_column("as_of", as_of))


def built(con, scores, excluded=(), name="list", others=None, **definition) -> Audience:
    definitions = {name: AudienceParams.model_validate(definition)} | {
        other: AudienceParams.model_validate(values) for other, values in (others or {}).items()
    }
    return build_audience(con, scores, name, definitions, excluded=excluded, key="secret", separator=" > ")


def test_conditions_equal_a_query_on_the_scores(con, scores, frame) -> None:
    audience = built(
        con,
        scores,
        where={"segment": ["VIP"], "order_count": {"min": 1, "max": 3}, "is_border": False, "spend": {"max": 20}},
    )
    expected = frame.query("segment == 'VIP' and 1 <= order_count <= 3 and not is_border and spend <= 20")
    assert list(audience.table.customer_id) == sorted(expected.customer_id)
    assert audience.steps[0].customer_count == N
    assert audience.steps[-1].customer_count == len(expected)
    assert audience.count(SEND) == len(expected)


QUERIES = {
    "segment = 'VIP'": {"segment": "VIP"},
    "temperature in ('hot', 'it''s cold')": {"temperature": ["hot", "it's cold"]},
    "temperature is null": {"temperature": {"known": False}},
    "temperature is not null": {"temperature": {"known": True}},
    "is_border": {"is_border": True},
    "not is_border": {"is_border": [False]},
    "order_count = 2": {"order_count": 2},
    "order_count in (0, 3)": {"order_count": [0, 3]},
    "spend >= 10.5": {"spend": {"min": 10.5}},
    "spend <= 20": {"spend": {"max": 20, "known": True}},
    "spend between 0 and 0": {"spend": {"min": 0, "max": 0}},
    "list_contains(journey_events, 'left_cart')": {"journey_events": "left_cart"},
    "list_has_any(journey_events, ['bought_once', 'x'])": {"journey_events": ["bought_once", "x"]},
    "len(list_filter(top_categories, x -> ' > ' || x || ' > ' like '% > Pets > %')) > 0": {"category": "Pets"},
    "len(list_filter(top_categories, x -> x in ('Cats', 'Pets > Cats', 'Toys'))) > 0": {"category": ["Toys", "Cats"]},
    "segment = 'VIP' and spend > 5 and buy_probability < 0.04": {
        "segment": ["VIP"], "spend": {"min": 5.000001}, "buy_probability": {"max": 0.0399999},
    },
}  # fmt: skip
"""Condition in SQL -> in params.yaml; one for each kind of condition and type of column."""


@pytest.mark.parametrize("sql", QUERIES)
def test_every_number_of_an_audience_equals_a_query_on_the_scores(con, scores, sql: str) -> None:
    name = scores.get_name()
    chosen = f"select * from {name} where {sql}"
    audience = built(con, scores, where=QUERIES[sql], holdout_share=0.2)
    ids, count, rate = con.con.execute(
        f"select list(customer_id order by customer_id), count(*), avg(buy_probability) from ({chosen})"
    ).fetchone()
    assert audience.table.customer_id.tolist() == ids and count > 0
    assert audience.steps[-1].customer_count == audience.count(SEND) + audience.count(HELD_OUT) == count
    assert audience.base_rate == pytest.approx(rate)
    kept = con.con.execute(f"select spend, segment, order_count from ({chosen}) order by customer_id").df()
    pd.testing.assert_frame_equal(audience.table[["spend", "segment", "order_count"]], kept, check_dtype=False)


def test_known_and_unknown_values(con, scores, frame) -> None:
    unknown = built(con, scores, where={"spend": {"known": False}})
    known = built(con, scores, where={"spend": {"known": True}})
    assert len(unknown.table) == frame.spend.isna().sum()
    assert len(unknown.table) + len(known.table) == N


@pytest.mark.parametrize(
    ("category", "holders"),
    [
        ("Cats", [["Pets > Cats", "Toys"], ["Cats"]]),
        ("Pets", [["Pets > Cats", "Toys"], ["Home > Pets"]]),
        ("Pets > Cats", [["Pets > Cats", "Toys"]]),
        ("Cats > Toys", []),
        ("Cat", []),
        ("pets > CATS", [["Pets > Cats", "Toys"]]),
    ],
)
def test_a_category_at_any_level_of_one_path(con, scores, frame, category, holders) -> None:
    held = con.to_pandas(scores.filter(meets(scores, "category", [category], separator=" > ")).customer_id)
    assert sorted(held) == sorted(frame.customer_id[[row in holders for row in frame.top_categories]])


@pytest.mark.parametrize(
    ("separator", "category", "same"),
    [
        (".", "Pets", "Pets"),
        (".", "Pets.Cats", "Pets > Cats"),
        ("/", "Pets / Cats", "Pets > Cats"),
        (".", "Pets > Cats", "Pets > Cats"),
        (".", "Cats.Pets", "Cats > Pets"),
    ],
)
def test_a_path_may_have_the_separator_of_the_log_or_of_the_scores(con, scores, separator, category, same) -> None:
    given, plain = (
        con.to_pandas(scores.filter(meets(scores, "category", text, separator=of)).order_by("customer_id").customer_id)
        for text, of in ((category, separator), (same, " > "))
    )
    assert given.tolist() == plain.tolist() and bool(len(plain)) == (same != "Cats > Pets")


@pytest.mark.parametrize("category", ["ΚΑΛΤΣΕΣ", "İç Giyim", "ЇЖА"])
def test_a_category_is_found_as_it_is_written_in_any_alphabet(con, category) -> None:
    scores = ibis.memtable({"customer_id": ["a", "b"], "top_categories": [[f"Shop > {category}"], ["Shop"]]})
    held = con.to_pandas(scores.filter(meets(scores, "category", [category], separator=" > ")).customer_id)
    assert held.tolist() == ["a"]


def test_order_limit_and_ties(con, scores, frame) -> None:
    audience = built(con, scores, where={}, order_by="-spend", limit=10)
    expected = frame.sort_values(["spend", "customer_id"], ascending=[False, True]).head(10)
    assert list(audience.table.customer_id) == list(expected.customer_id)
    assert list(audience.table.position) == list(range(1, 11))


def test_exclusions_are_counted_one_by_one(con, scores, frame) -> None:
    ids = frozenset([*frame.customer_id.head(5), "nobody"])
    audience = built(
        con,
        scores,
        excluded=[Excluded("on the list", ids)],
        where={},
        exclude={"audiences": ["lapsed"]},
        others={"lapsed": {"where": {"segment": "Lapsed"}}},
    )
    expected = frame[(frame.segment != "Lapsed") & ~frame.customer_id.isin(ids)]
    assert sorted(audience.table.customer_id) == sorted(expected.customer_id)
    assert [step.text for step in audience.steps] == ["scored", "not on the list", "not in lapsed"]
    assert [step.customer_count for step in audience.steps] == [N, N - 5, len(expected)]
    assert audience.unknown_count == 1


def test_a_control_group_in_every_segment(con, scores, frame) -> None:
    audience = built(con, scores, where={}, holdout_share=0.1)
    shares = audience.table.groupby("segment_id")["group"].apply(lambda group: (group == HELD_OUT).mean())
    assert shares.between(0.07, 0.13).all()
    assert audience.base_rate == pytest.approx(frame.buy_probability.mean())
    assert audience.detectable_rise is not None
    assert audience.detectable_rise > 0
    again = built(con, scores, where={}, holdout_share=0.1, order_by="-spend").table.set_index("customer_id")
    assert again["group"].loc[audience.table.customer_id].tolist() == audience.table["group"].tolist()


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"where": {"segmnt": "VIP"}}, "Did you mean `segment`"),
        ({"where": {"segment": 3}}, "expected a text, got 3.0"),
        ({"where": {"segment": {"min": 1}}}, "the column has no numbers"),
        ({"where": {"temperature": "lukewarm"}}, "lukewarm: 0. temperature can be hot, it's cold, warm"),
        ({"where": {"category": {"min": 1}}}, "expected one or more names, got bounds"),
        ({"where": {"segment": []}}, "an empty list"),
        (
            {"where": {"segment": "VIP", "order_count": {"min": 100}}},
            "segment is VIP: .*; order_count is at least 100: 0",
        ),
        ({"where": {}, "exclude": {"audiences": ["other"]}}, "there is no audience 'other'"),
        ({"where": {}, "exclude": {"audiences": ["list"]}}, "list excludes list: a circle"),
        ({"where": {}, "order_by": "-age"}, "`age` is not a column"),
    ],
)
def test_what_cannot_be_selected_is_refused(con, scores, definition, message) -> None:
    with pytest.raises(AudienceError, match=message):
        built(con, scores, **definition)


@pytest.mark.parametrize(
    ("category", "advice"),
    [
        ("PETTS", "Did you mean 'Pets'?"),
        ("home > pet", "Did you mean 'Home > Pets'?"),
        ("Yoghurt", "The largest are Home > Pets, Pets > Cats, Toys, Cats."),
    ],
)
def test_a_category_that_nobody_has_suggests_another(con, scores, category: str, advice: str) -> None:
    for where in ({"category": category}, {"category": ["Toy", category]}):
        with pytest.raises(AudienceError) as refused:
            built(con, scores, where=where)
        assert str(refused.value).endswith(f" No customer has {category!r} among the top categories. {advice}")
    with pytest.raises(AudienceError) as refused:  # the category is there, and another condition leaves nobody
        built(con, scores, where={"category": "Pets", "order_count": {"min": 100}})
    assert "among the top categories" not in str(refused.value)


@pytest.mark.parametrize("column", ["interest_segment", "interest_segment_id"])
def test_scores_without_segments_by_interest_say_so(con, scores, column: str) -> None:
    with pytest.raises(AudienceError, match="these scores have no segments by interest, as the log has no categories"):
        built(con, scores, where={column: "Cats"})


@pytest.mark.parametrize("bounds", [{"min": 2, "max": 1}, {}, {"known": False, "min": 1}])
def test_contradictory_bounds_are_refused(bounds) -> None:
    with pytest.raises(ValueError, match="expected"):
        Bounds.model_validate(bounds)


@pytest.mark.parametrize("share", [1.0, -0.1, 1.5])
def test_a_control_group_of_all_or_less_than_nobody_is_refused(share) -> None:
    with pytest.raises(ValueError, match="holdout_share"):
        AudienceParams.model_validate({"where": {}, "holdout_share": share})


@pytest.mark.parametrize(("rise", "is_too_small"), [(0.04, False), (0.046, False), (0.05, True), (0.787, True)])
def test_groups_that_show_only_more_than_a_doubling_are_too_small(con, scores, rise: float, is_too_small: bool) -> None:
    made = replace(built(con, scores, where={}, holdout_share=0.1), base_rate=0.046, detectable_rise=rise)
    text = effect_text(made)
    assert f"a rise from 4.6% to {0.046 + rise:.1%} of customers who buy, or more" in text
    assert ("too small" in text) == is_too_small
    assert "Train on a longer log" in effect_text(replace(made, base_rate=None))
