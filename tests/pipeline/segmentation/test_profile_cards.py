from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest
import yaml

from features.benefits import views_per_order
from models.segments import QUESTIONS
from pipeline.config.errors import ParamsError
from pipeline.config.load import load_params
from pipeline.report.parts.segment import CardLine
from pipeline.report.texts.five_w import TEXTS, five_w_texts
from pipeline.segmentation.descriptions.card_tables import (
    WHY,
    attribute_counts,
    benefit_sums,
    columns_to_show,
    customers_in_audiences,
    visit_sums,
)
from pipeline.segmentation.profile_cards import build_cards
from pipeline.stores.engines.duckdb import DuckDB

PARAMS = load_params(Path(__file__).parents[3] / "params.yaml")


def lines(card: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [line for question_lines in card.values() for line in question_lines]


def customers_table(n: int = 200) -> pd.DataFrame:
    generator = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "customer_id": [f"c{number:03}" for number in range(n)],
            "city": generator.choice(["Lviv", "Kyiv"], n),
            "nickname": "x",
            "contact": [f"c{number}@shop.example" for number in range(n)],
            "loyalty_card": np.arange(n) + 480_000,
            "income": generator.lognormal(8, 1, n),
            "kids": generator.integers(0, 3, n),
            "since": pd.Timestamp("2020-01-01"),
        }
    )


def test_columns_that_identify_customers_are_left_out_with_a_note() -> None:
    columns, bounds, notes = columns_to_show(ibis.memtable(customers_table()), PARAMS)
    assert columns == ["city", "income", "kids"]
    assert list(bounds) == ["income"]
    assert [note.split("'")[1] for note in notes] == ["contact", "loyalty_card", "nickname", "since"]
    assert all(float(f"{bound:.2g}") == bound for bound in bounds["income"])


def test_a_value_of_a_few_customers_is_not_counted() -> None:
    table = customers_table()
    table.loc[:4, "city"] = "Odesa"
    profiles: Any = SimpleNamespace(table=table[["customer_id"]])
    source: Any = SimpleNamespace(customers=ibis.memtable(table))
    counts, known, _ = attribute_counts(source, profiles, np.repeat(["a", "b"], 100), PARAMS)
    cities = counts[counts.topic == "attribute: city"]
    assert set(cities.value) == {"Lviv", "Kyiv"}
    assert known.set_index(["topic", "segment_id"]).known_count["attribute: city", "a"] == 100


def test_segments_have_cards_and_every_line_is_reliable(trained: Any) -> None:
    params, _ = trained
    folder = params.path(params.outputs.folder)
    segments = json.loads((folder / "segments.json").read_text(encoding="utf-8"))
    assert all(segment["five_w"].keys() == set(QUESTIONS) for segment in segments)
    all_lines = [line for segment in segments for line in lines(segment["five_w"])]
    assert all_lines
    for line in all_lines:
        assert line["q_value"] <= params.cards.false_discovery_rate
        assert line["customer_count"] >= params.naming.min_group
        assert line["lift"] == pytest.approx(line["figure"] / line["shop"])
        assert max(line["lift"], 1 / line["lift"]) >= params.cards.min_lift
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Your customer table was read: age_band, city, gender (known for " in page
    has_attributes = any(line["is_attribute"] for line in all_lines)
    assert ("No segment differs reliably in any of these" in page) is not has_attributes
    assert "reliable differences only" in page
    assert "Audiences by category" in page
    assert "Segmented customers whose interest in a category is clearly above average" in page


def test_a_missing_customers_table_removes_only_the_attributes_from_cards(params: Any) -> None:
    from pipeline.config.facets import facets_of
    from pipeline.ingest.source import read_source
    from pipeline.profiles.build import build_profiles
    from pipeline.segmentation.cluster import cluster
    from pipeline.segmentation.describe import describe_segments
    from pipeline.stores.database import connect

    config = params()
    (facet, *_) = facets_of(config)
    folder = config.path(config.outputs.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with connect(config.engine, folder=folder) as con:
        source = read_source(con, config, rejected_path=folder / "rejected.parquet")
        profiles = build_profiles(DuckDB(con), source, config)
        segments = describe_segments(profiles, cluster(profiles, config, facet), config, facet, seasonal_lift=None)
        # Nearly all customers of one segment live in a city where only half of the others live.
        first = segments.rows[0].segment_id
        is_first = segments.segment_ids == first
        city = np.where(is_first | (np.arange(len(is_first)) % 2 == 0), "Planted", "Elsewhere")
        city[np.flatnonzero(is_first)[:: max(is_first.sum() // 12, 1)]] = "Elsewhere"
        table = pd.DataFrame({"customer_id": profiles.table.customer_id, "city": city, "club": city})
        source = replace(source, customers=ibis.memtable(table))
        in_audience = customers_in_audiences(source, profiles, config)
        visits = visit_sums(profiles, {facet.name: segments.segment_ids}, config)[facet.name]
        full = build_cards(source, profiles, segments, in_audience, visits, config).by_segment
        without = replace(source, customers=None)
        reduced = build_cards(without, profiles, segments, in_audience, visits, config).by_segment
    assert [(line.topic, line.value) for line in full[first].who] == [("club", "Planted")]
    assert [line.value for line in full[first].where if line.is_attribute] == ["Planted"]
    for segment_id, card in reduced.items():
        assert card.who == ()
        assert tuple(line for line in full[segment_id].lines if not line.is_attribute) == card.lines
    assert any(card.lines for card in reduced.values())


def test_views_per_order_count_only_customers_with_views_and_orders() -> None:
    counts = ibis.memtable({"order_count": [2.0, 4.0, 0.0, 1.0], "view_count": [10.0, 4.0, 9.0, 0.0]})
    profile = counts.mutate(views_per_order=views_per_order(counts)).to_pandas()
    profile = profile.assign(**dict.fromkeys([name for name in WHY if name != "views_per_order"], 0.5))
    sums = benefit_sums(profile, np.array(["a", "a", "a", "b"])).query("topic == 'views_per_order'")
    assert sums.set_index("segment_id")[["total", "squares", "known_count"]].to_dict("index") == {
        "a": {"total": 6.0, "squares": 26.0, "known_count": 2},  # 5 and 1
        "b": {"total": 0.0, "squares": 0.0, "known_count": 0},
    }


def test_every_language_has_the_same_texts() -> None:
    languages = yaml.safe_load(TEXTS.read_text(encoding="utf-8"))
    english = languages["en"]
    assert list(languages) == ["en", "uk", "ru", "sq"]
    for texts in languages.values():
        assert texts.keys() == english.keys()
        for key, text in texts.items():
            assert isinstance(text, dict) is isinstance(english[key], dict)
            if isinstance(text, dict):
                assert text.keys() == english[key].keys()


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", "Visits on Mondays: 25%; all segmented customers: 12% (2.1×, 1,200 customers)"),
        ("uk", "Візити в понеділок: 25%; усі сегментовані клієнти: 12% (2,1×, клієнтів: 1\u00a0200)"),
        ("ru", "Визиты в понедельник: 25%; все сегментированные клиенты: 12% (2,1×, клиентов: 1\u00a0200)"),
        ("sq", "Vizita të hënën: 25%; të gjithë klientët e segmentuar: 12% (2,1×, klientë: 1\u00a0200)"),
    ],
)
def test_the_text_of_a_line(language: str, expected: str) -> None:
    compared = {"figure": 0.25, "shop": 0.12, "lift": 2.083, "q_value": 0.01, "customer_count": 1200}
    line = CardLine(topic="weekday", is_attribute=False, value="1", **compared)
    texts = five_w_texts({"who": [], "when": [line]}, language)
    assert [question.lines for question in texts.questions] == [[expected]]
    same_when_rounded = line.model_copy(update={"figure": line.shop + 1e-6})
    assert not five_w_texts({"when": [same_when_rounded]}, language).questions
    by_rule = five_w_texts({"when": [line]}, language, is_standing=True)
    assert by_rule.questions[0].lines != [expected]


@pytest.mark.parametrize(
    "override",
    ["cards.timezone=Kyiv", "cards.occasions={x: {name: {en: a, uk: b, ru: c, sq: d}, first: 13-01, last: 12-02}}"],
)
def test_an_invalid_time_zone_or_occasion_is_refused(override: str) -> None:
    with pytest.raises(ParamsError, match=r"Europe/Kyiv|a month and a day"):
        load_params(Path(__file__).parents[3] / "params.yaml", [override])
