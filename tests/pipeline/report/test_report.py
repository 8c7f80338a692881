from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.naming import LANGUAGES
from pipeline.audiences.monday import CANDIDATES
from pipeline.report.lineage import lineage_records, lineage_table, lineage_text
from pipeline.report.pages.drawings import MAX_OPACITY, grid
from pipeline.report.pages.markdown import as_markdown
from pipeline.report.pages.render import TEMPLATES
from pipeline.report.pages.render import render as render_summary
from pipeline.report.pages.shapes import Cell
from pipeline.report.parts.segment import Segment
from pipeline.report.plots import figures
from pipeline.report.summarise import Training, spend_basis, stage_shares, summarise
from pipeline.report.terminal import counted
from pipeline.report.texts.languages import read_texts
from tests.pipeline.report.axe import barriers, needs_axe
from tests.pipeline.report.facet_summaries import as_summary, candidate, quality, reading

MARK = {"en": "Quiet", "uk": "Тихі", "ru": "Тихие", "sq": "Të qetë"}


def segment(segment_id: str, name: str, **changes: Any) -> dict[str, Any]:
    figures = {"customer_count": 100.0, "buyer_share": 0.5, "stage_active_share": 1.0, "evening_share": 0.6}
    column = {"column": "order_count", "is_above": True, "bound": 2.0, "is_share": False, "label": ""}
    return {
        **{"facet": "behaviour", "segment_id": segment_id, "name": name, "archetype": None},
        **{"is_standing": segment_id.startswith("standing-"), "names_by_figures": dict.fromkeys(LANGUAGES, name)},
        **{
            "names": dict.fromkeys(LANGUAGES, name),
            "playbook": {**MARK, "en": "Write."},
            "avoid": {**MARK, "en": "Shouting."},
        },
        **{"customer_count": 100, "customer_share": 0.5, "spend_share": 0.5, "is_small": False, "figures": figures},
        **{"top_categories": [], "evidence": [], "stability": 0.8, "is_stable": True, "stability_word": "stable"},
        **{"rule": {"conditions": [column], "precision": 0.75, "coverage": 0.5}, "five_w": {}},
        **changes,
    }


def profile_of(segments: tuple[dict[str, Any], ...]) -> tuple[pd.DataFrame, np.ndarray]:
    """As many customers as the segments have; those of every second segment buy and are hot."""
    ids = np.array(
        [segment["segment_id"] for segment in segments for _ in range(segment["customer_count"])], dtype=object
    )
    order = {segment["segment_id"]: place for place, segment in enumerate(segments)}
    buys = np.array([order[segment_id] % 2 == 0 for segment_id in ids])
    frame = pd.DataFrame({
        "order_count": buys * 2.0,
        "view_count": 1.0,
        "cart_count": buys * 1.0,
        "spend": buys * 33.0,
        "net_spend": buys * 30.0,
        "returned_spend": buys * 3.0,
        "returned_item_count": buys * 1.0,
        "lifecycle_stage": np.where(buys, "active", "browsing"),
        "temperature": np.where(buys, "hot", "cold"),
    })  # fmt: skip
    return frame, ids


def summary(*segments: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The summary.json of a training with one facet; ``changes`` are to its method."""
    clustered = [segment["segment_id"] for segment in segments if not segment["is_standing"]]
    profile, ids = profile_of(segments)
    tables = SimpleNamespace(
        table=list(segments),
        shop={"buyer_share": 0.25},
        lifts=pd.DataFrame({"a": 1.5, "b": np.nan}, index=clustered),
        labels={"a": "Cats", "b": "Dogs"},
        segment_ids=ids,
    )
    method = {
        **{
            "history_days": 365.0,
            "log_days": 30.0,
            "usual_history_days": 60.0,
            "horizon_days": 30,
            "min_events": 3,
            "min_group": 10,
        },
        **{"tier_by": "spend", "timezone": "UTC", "min_known_share": 0.0},
        **{"noise_policy": "keep", "is_fitted": True, "query_counts": {"learned": 3, "abstained": 1}},
        "interests": {"half_life_days": 45.0, "kappa": 8.0, "signal_weights": {"view": 1.0, "cart": 2.5}},
    }
    tried = quality(silhouette=0.1, candidates=[candidate("kmeans", 8), candidate("kmeans", 10)])
    facet = {"name": "behaviour", "names": "archetypes", "clustered_count": 100, "shop": tables.shop, "quality": tried}
    training = Training(
        run_id="r1",
        as_of=datetime(2025, 11, 1, tzinfo=UTC),
        language="en",
        currency=None,
        profile=profile,
        facets=[(tables, facet | {"min_events": 3, "min_evidence": 0.0, "noise_policy": "keep"})],
        reading=reading(),
        quality=tried | {"notes": ["a note"], "validity": None},
        method=method | changes,
        lineage=[],
        audiences=[],
        attributes=None,
        migration=None,
        crossing=None,
        interests=[],
    )
    return summarise(training).as_json()


def render(report: dict[str, Any], language: str) -> str:
    """The page of a summary.json."""
    return render_summary(as_summary(report), language)


def lineage_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return lineage_table(lineage_records(rows)).model_dump()


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<(style|script)>.*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL).split())


def test_counts_have_the_right_plural() -> None:
    texts = [counted(count, "order") for count in (0, 1, 1.0, 1.5, 2_000, 12_345_678.0)]
    assert texts == ["0 orders", "1 order", "1 order", "1.5 orders", "2,000 orders", "12,345,678 orders"]


def test_a_small_group_is_listed_without_figures() -> None:
    small = segment(
        "standing-active",
        "Quiet buyers",
        customer_count=10,
        is_small=True,
        figures={},
        stability=None,
        spend_share=None,
    )
    page = text_of(render(summary(segment("s01", "VIP"), small), "en"))
    assert "Too few customers to show more: Quiet buyers (&lt;10)." in page
    assert page.count("Write.") == 2  # in the table and on the card of the other segment


def test_revenue_is_net_of_refunds_and_labelled_so() -> None:
    # 100 customers paid 33 each; sums are rounded.
    report = summary(segment("s01", "VIP", figures={"customer_count": 100.0, "returned_spend_share": 1 / 11}))
    report["shop"]["returned_spend_share"] = 0.05
    page = text_of(render(report, "en"))
    assert "Revenue is 3,500 paid for orders, minus 500 in refunds." in page
    assert "3,000 revenue, net of refunds" in page
    assert page.count("Revenue is net of refunds.") == 1
    assert "Refund rate (amount paid) 9.1% 5.0%" in page
    priceless = text_of(render({**report, "spend_is": "before"}, "en"))
    assert "before returns: the log does not record refunds" in priceless
    none = text_of(render({**report, "spend_is": "paid"}, "uk"))
    assert "Виторг – сума оплачених замовлень; повернень у журналі немає." in none


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "steps of about 30%."),
        ("uk", "кроком близько 30%."),
        ("ru", "шагом около 30%."),
        ("sq", "hapa rreth 30%."),
    ],
)
def test_shares_of_revenue_that_are_rounded_far_are_said_to_be(language: str, text: str) -> None:
    report = {**summary(segment("s01", "VIP")), "spend_step": 0.3}
    assert text in text_of(render(report, language)).replace("\xa0", "")
    assert text not in text_of(render({**report, "spend_step": 0.0}, language)).replace("\xa0", "")
    assert text not in text_of(render({**report, "has_spend": False}, language)).replace("\xa0", "")


def test_returns_without_prices_do_not_reduce_revenue() -> None:
    back = pd.DataFrame({"returned_spend": [0.0, 0.0], "returned_item_count": [2.0, 0.0]})
    profiles = (back, back.assign(returned_spend=5.0), back.assign(returned_item_count=0.0))
    assert [spend_basis(profile) for profile in profiles] == ["before", "net", "paid"]


def test_figures_that_look_like_the_average_are_left_out() -> None:
    figures = {"customer_count": 100.0, "orders_per_buyer": 1.04, "visits_per_customer": 3.0, "buyer_share": 0.5}
    report = summary(segment("s01", "VIP", figures=figures))
    report["shop"] = {"orders_per_buyer": 1.0, "visits_per_customer": 2.0, "buyer_share": 0.0}
    page = text_of(render(report, "en"))
    assert "Visits per customer 3.0 2.0" in page
    assert "Orders per buyer" not in page and "Have ordered" not in page


@pytest.mark.parametrize(
    ("language", "days", "expected"),
    [
        ("en", 30.2, "or registered). The figures cover 30 days."),
        ("en", 0.12, "or registered). The figures cover 3 hours."),
        ("uk", 30.2, "Показники охоплюють 30 днів."),
        ("ru", 30.2, "Показатели охватывают 30 дней."),
        ("sq", 30.2, "Shifrat mbulojnë 30 ditë."),
    ],
)
def test_the_figures_cover_what_the_log_has_of_the_window(language: str, days: float, expected: str) -> None:
    report = summary(segment("s01", "VIP"))
    report["method"]["log_days"] = days
    text = text_of(render(report, language)).replace("\xa0", " ")
    assert expected in text and "365" not in text


@pytest.mark.parametrize(
    ("language", "all_customers", "segmented"),
    [
        ("en", "Share of all customers", "Share of segmented customers"),
        ("uk", "Частка всіх клієнтів", "Частка сегментованих клієнтів"),
        ("ru", "Доля всех клиентов", "Доля сегментированных клиентов"),
        ("sq", "Pjesa e të gjithë klientëve", "Pjesa e klientëve të segmentuar"),
    ],
)
def test_shares_say_which_customers_they_are_of(language: str, all_customers: str, segmented: str) -> None:
    audience = {"category": "a", "label": "Cats", "customer_count": 40, "customer_share": 0.4}
    page = text_of(render({**summary(segment("s01", "VIP")), "audiences": [audience]}, language))
    assert f"{all_customers}" in page  # segment sizes count everybody
    assert f"{segmented} Cats 40" in page  # audiences count clustered customers only


def test_dates_are_in_the_shops_time_zone_which_is_named_once() -> None:
    report = summary(segment("s01", "VIP"), timezone="America/New_York") | {"lineage": lineage_of(LINEAGE)}
    page = text_of(render(report, "en"))
    assert "As of 31 October 2025, 20:00 (America/New_York)." in page
    assert page.count("New_York") == 1
    assert "The log covers 31 October 2024 to 31 October 2025" in page
    assert "As of 1 November 2025 (UTC)." in text_of(render(summary(segment("s01", "VIP")), "en"))


def test_evidence_as_text() -> None:
    evidence = [
        {"figure": "spend_per_customer", "value": 300.0, "shop": 100.0, "nearest_peer": 150.0, "condition": {}},
        {"figure": "interest: Cats", "value": 0.5, "shop": 0.2, "customer_count": 40, "condition": {}},
    ]
    page = text_of(render(summary(segment("s01", "VIP", evidence=evidence)), "en"))
    assert "Revenue per customer: 300 (all segmented customers: 100; most similar segment: 150)" in page
    assert "Share of interest in Cats: 50% (all segmented customers: 20%)" in page


def test_rule_based_groups_say_what_their_figures_are_compared_with() -> None:
    few = [{"figure": "events_per_customer", "value": 1.0, "shop": 12.0, "condition": {}}]
    rule = {"stage": "active", "min_events": 3, "with_noise": True} | dict.fromkeys(("precision", "coverage"), 1.0)
    by_rule = segment("standing-active", "Passers-by", evidence=few, rule=rule)
    page = text_of(render(summary(segment("s01", "VIP"), by_rule), "en"))
    assert "(all customers segmented by behaviour: 12.0)" in page and "(all segmented customers: 12.0)" not in page
    # If nobody is clustered by behaviour, they are compared with all customers.
    assert "(all segmented customers: 12.0)" in text_of(render(summary(by_rule), "en"))


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", "beyond what a customer paid in the period belong to earlier purchases and are not counted."),
        ("uk", "понад сплачене ним за період, стосуються давніших покупок і не враховуються."),
        ("ru", "сверх уплаченного им за период, относятся к более ранним покупкам и не учитываются."),
        ("sq", "përtej asaj që një klient pagoi në këtë periudhë u takojnë blerjeve të mëparshme dhe nuk llogariten."),
    ],
)
def test_the_glossary_says_which_refunds_count(language: str, expected: str) -> None:
    assert expected in text_of(render(summary(segment("s01", "VIP")), language))


def test_a_log_without_prices_or_times_of_day_does_not_mention_them() -> None:
    figures = {"customer_count": 100.0, "average_order_value": 0.0, "night_share": 1.0}
    bare = segment("s01", "VIP", spend_share=0.0, figures=figures)
    report = summary(bare, tier_by="order_count")
    report["totals"] |= {"paid": 0.0, "spend": 0.0}
    page = text_of(render(report, "en"))
    assert "spend" not in page.lower() and "revenue" not in page.lower()
    assert (
        "The log has no prices, so no amounts are shown; value tiers and RFM groups are based on order counts." in page
    )
    assert "A rule based on the number of orders: VIP buyers order the most" in page
    assert "average order" not in page.lower()
    assert "Most visits" not in page


def test_hidden_revenue_of_a_few_buyers_is_not_a_log_without_prices() -> None:
    report = summary(segment("s01", "VIP", spend_share=None, figures={"customer_count": 100.0}))
    page = text_of(render(report, "en"))
    assert "3,300" not in page
    assert "no prices" not in page
    assert "A rule based on days since the last order, number of orders and spend" in page


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "view|search|click"),
        ("uk", "перегляд[^а]|пошук|натискан"),
        ("ru", "просмотр|поиск|нажати"),
        ("sq", "shikim|kërkim|klik"),
    ],
)
def test_the_report_of_a_log_of_orders_alone_does_not_mention_views_or_searches(
    language: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the glossary names the stage `browsing`."""
    vip = segment("s01", "VIP")
    profile, ids = profile_of((vip,))
    monkeypatch.setitem(globals(), "profile_of", lambda segments: (profile.assign(view_count=0.0, cart_count=0.0), ids))
    report = summary(vip)
    report["reading"] |= {"event_types": {"purchase": 9}, "duplicate_count": 2}
    report["method"]["query_counts"] = {}
    assert re.findall(words, text_of(render(report, language)).lower()) == []


def test_a_lift_of_few_customers_is_a_dash() -> None:
    report = summary(segment("s01", "VIP"))
    assert report["heat_map"] == {"segment_ids": ["s01"], "categories": ["Cats", "Dogs"], "lifts": [[1.5, None]]}
    assert "No segment reliably differs in: Dogs." in text_of(render(report, "en"))


def test_markdown_is_escaped() -> None:
    markdown = as_markdown(as_summary(summary(segment("s01", "VIP · <b>a|b</b>_c_"))))
    assert r"| VIP · &lt;b>a\|b&lt;/b>\_c\_ | 100 |" in markdown


def shown(*segments: dict[str, Any]) -> list[Segment]:
    return [Segment.model_validate({**segment, "stages": []}) for segment in segments]


def test_a_log_without_categories_has_no_map_of_interests() -> None:
    plots = {}
    for name, lifts in {"none": {}, "flat": {"Cats": [0.7]}, "clear": {"Cats": [0.7], "Dogs": [2.0]}}.items():
        frame, points = pd.DataFrame(lifts, index=["s01"]), np.zeros((1, 2))
        ids = np.array(["s01"], dtype=object)
        plots[name] = list(
            figures(shown(segment("s01", "VIP")), frame, points, ids, by_interest=False, min_group=1, seed=1)
        )
    assert plots["none"] == plots["flat"] == ["segment_sizes", "value_by_segment", "map"]
    assert plots["clear"] == ["segment_sizes", "value_by_segment", "interests_by_segment", "map"]


def test_the_plot_of_interest_segments_shows_above_average_interests_only() -> None:
    rows = shown(segment("i01", "Cats"), segment("i02", "Dogs"))
    lifts = pd.DataFrame({"Dogs": [0.3, 4.0], "Cats": [4.0, 0.25]}, index=["i01", "i02"])
    plots = figures(
        rows, lifts, np.zeros((1, 2)), np.array(["i01"], dtype=object), by_interest=True, min_group=1, seed=1
    )
    assert list(plots) == ["segment_sizes", "value_by_segment", "interests_by_segment"]
    axes = plots["interests_by_segment"].axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["Cats", "Dogs"]
    assert np.asarray(axes.images[0].get_array()).tolist() == [[2.0, 0.0], [0.0, 2.0]]


def stages_of(**shares: float) -> list[tuple[str, float]]:
    figures = {f"stage_{stage}_share": share for stage, share in shares.items()}
    row = segment("s01", "VIP", customer_count=1_000, figures=figures)
    return [(item["stage"], round(item["share"], 4)) for item in stage_shares(row, min_group=10)]


def test_only_small_lifecycle_stages_are_hidden_as_small() -> None:
    # Every stage of at least ten customers is shown, even one of 1.2%; those that nobody is in are not.
    assert stages_of(active=0.988, lapsed=0.012, lost=0.0) == [("active", 0.988), ("lapsed", 0.012)]
    assert stages_of(active=0.991) == [("active", 0.991), ("too_few", 0.009)]
    # Half of the customers are no small group: they are hidden as a small one could be worked out from them.
    assert stages_of(active=0.48) == [("active", 0.48), ("rest", 0.52)]
    assert stages_of() == [] == stages_of(active=0.0)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.48, "some groups are too small: 52%"), (0.95, "small groups: 5.0%")]
)
def test_a_large_remainder_of_stages_is_not_called_small(share: float, expected: str) -> None:
    page = text_of(render(summary(segment("s01", "VIP", figures={"stage_active_share": share})), "en"))
    assert f"active: {share:.0%}" in page and expected in page
    assert ("hidden to protect small groups" in page) == (share == 0.95)


def test_an_unstable_segment_is_marked_wherever_its_name_appears() -> None:
    shaky = {"stability": 0.4, "is_stable": False, "stability_word": "unstable"}
    report = summary(segment("s01", "VIP"), segment("s02", "Rare visitors", **shaky))
    text = text_of(render(report, "en"))
    assert text.count("Rare visitors (unstable segment)") == text.count("Rare visitors") > 5
    assert "Unstable: re-clustering random subsets of customers recovered 40% of this segment." in text
    assert text.count("Write.") == 2  # in the table and on the card of the stable segment
    assert "Rare visitors (unstable segment)" in as_markdown(as_summary(report))
    assert "Stable segments: 1 of 2." in text and "recovered 80% of a segment." in text


def lineage(run: str, segment_id: str, verdict: str, related: list[str], **more: Any) -> dict[str, Any]:
    day = {"a": "2025-11-01 00:00", "b": "2025-12-01 00:00"}[run]
    row = {"run_id": run, "as_of": day, "segment_id": segment_id, "verdict": verdict, "related": related}
    return {"is_here": True, "jaccard": None, **row, **more}


LINEAGE = [
    lineage("a", "s01", "new", [], name="VIP"),
    lineage("a", "s02", "new", [], name="Lost"),
    lineage("b", "s01", "survived", ["s01"], jaccard=0.756, name="Best"),
    lineage("b", "s03", "split", ["s02"], name="Lapsed"),
    lineage("b", "s02", "gone", [], is_here=False),
]


def test_history_of_segments() -> None:
    assert lineage_text(lineage_records(LINEAGE[:2])) == ""
    assert lineage_text(lineage_records(LINEAGE)).splitlines() == [
        "Segments over trainings          2025-11-01  2025-12-01",
        "s01                      Best    new         same, 0.76; was VIP",
        "s02                      Lost    new         gone",
        "s03                      Lapsed              part of s02",
    ]
    report = summary(segment("s01", "Best")) | {"lineage": lineage_of(LINEAGE)}
    assert "Best s01 new same, 0.76; was VIP Lost s02 new gone Lapsed s03 part of s02" in text_of(render(report, "en"))
    assert "This is the first training" in render(summary(segment("s01", "Best")), "en")


def test_segments_that_are_gone_have_names_in_the_language_of_the_report() -> None:
    named = [
        {**row, "names": {"en": row["name"], "uk": "Втрачені"}} if row["segment_id"] == "s02" and "name" in row else row
        for row in LINEAGE
    ]
    report = summary(segment("s01", "Best")) | {"lineage": lineage_of(named)}
    assert "Втрачені s02 новий зник" in text_of(render(report, "uk"))


def test_earlier_names_are_in_the_language_of_the_report() -> None:
    both = {"VIP": {"en": "VIP", "uk": "Найкращі", "ru": "VIP"}, "Best": {"en": "Best", "uk": "Вершина", "ru": "VIP"}}
    named = [{**row, "names": both[row["name"]]} if row.get("name") in both else row for row in LINEAGE]
    report = summary(segment("s01", "Best")) | {"lineage": lineage_of(named)}
    assert "same, 0.76; was VIP" in text_of(render(report, "en"))
    assert "той самий, 0,76; раніше «Найкращі»" in text_of(render(report, "uk"))
    assert "тот же, 0,76 " in text_of(render(report, "ru"))  # its name in this language has not changed
    # A training in another language does not change names.
    in_ukrainian = [
        {**row, "name": "VIP", "names": both["VIP"]}
        if row["run_id"] == "a"
        else {**row, "name": "Найкращі", "names": both["VIP"]}
        for row in LINEAGE
        if row["segment_id"] == "s01"
    ]
    assert "was" not in lineage_text(lineage_records(in_ukrainian))
    assert (
        "was" not in text_of(render(report | {"lineage": lineage_of(in_ukrainian)}, "en")).split("same, 0.76")[1][:20]
    )


def everything() -> dict[str, Any]:
    """A summary with content in every section of the report: 12 segments, 40 categories."""
    shaky = {"stability": 0.4, "is_stable": False, "stability_word": "unstable"}
    interest = {
        "category": "Q7 > Q8",
        "label": "Q8 › other Q7",
        "share": 0.4,
        "lift": 2.1,
        "lift_low": 1.5,
        "customer_count": 21,
    }
    evidence = [{"figure": "spend_per_customer", "value": 300.0, "shop": 100.0, "nearest_peer": 1.0, "condition": {}}]
    some = [segment(f"s{place:02}", f"VIP {place}") for place in range(11)]
    report = summary(
        *some,
        segment("s11", "VIP 11", top_categories=[interest], evidence=evidence, **shaky),
        segment("standing-active", "VIP 12", rule={"stage": "active", "min_events": 3, "with_noise": True} | dict.fromkeys(("precision", "coverage"), 1.0)),
        segment("standing-lost", "VIP 13", customer_count=2, is_small=True, figures={}, spend_share=None, stability=None),
    )  # fmt: skip
    report["heat_map"] |= {
        "categories": ["other Q0", "(other)", *(f"Q{place}" for place in range(2, 40))],
        "lifts": [[2.0 if (place + row) % 3 else 0.5 for place in range(40)] for row in range(12)],
    }
    report["quality"]["noise_share"] = 0.2
    report["reading"] |= {"duplicate_count": 3, "noted_by_rule": {"after_as_of": 1}}
    for place, flow in enumerate((0.12, -0.3, 0.0, None)):
        report["segments"][place]["retention"] = {"days": 30, "is_sample": False, "share": None, "net_share": flow}
    report["actions"] = [
        {"name": name, "customer_count": 54321 - place, "money": 9876.0 - place, "money_column": "expected_spend"}
        for place, name in enumerate(CANDIDATES)
    ]
    report["migration"] = {
        **{"since": "2025-10-02 00:00", "customer_count": 300, "stayed_share": 0.8, "groups": ["active", "lapsed"]},
        "rows": [[120, 40], [20, 120]],
    }
    return report | {"lineage": lineage_of(LINEAGE)}


def all_parts_of_a_card() -> dict[str, Any]:
    """A summary with every kind of rule, evidence, card line and retention."""
    both = {"precision": 1.0, "coverage": 1.0}
    by_stage = {"text": "lost", "stage": "lost", "with_noise": False, "min_events": 3, **both}
    unknown = {"text": "unknown", "min_evidence": 2.0, "min_events": 3, **both}
    figure = {"figure": "buyer_share", "value": 0.5, "shop": 0.25, "condition": {"min": 1, "min_ratio": 1.5}}
    interest = {"figure": "interest: Cats", "value": 0.5, "shop": 0.1, "customer_count": 9, "first_share": 0.8}
    line = {"topic": "channel", "is_attribute": False, "value": "app", "figure": 0.5, "shop": 0.2, "lift": 2.5}
    lines = [{**line, "q_value": 0.01, "customer_count": 50}]
    evidence = [{**figure, "held_share": 0.9}, {**figure, "nearest_peer": None, "ahead_share": 0.7}]
    return summary(
        segment("s01", "VIP", evidence=evidence, five_w={"where": lines, "who": []}, retention=None),
        segment("standing-lost", "Lost", rule=by_stage, retention={"days": 30, "is_sample": False, "share": 0.6}),
        segment("standing-unknown", "Unknown", rule=unknown, evidence=[{**interest, "condition": {}}], avoid={}),
    )


def words_of(text: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]{2,}", text))


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_no_english_is_left_in_another_language(language: str) -> None:
    english, own = (words_of(json.dumps(read_texts(name), ensure_ascii=False)) for name in ("en", language))
    names = words_of("VIP Lost Best Lapsed Cats Dogs")  # names from the shop and the log
    left = words_of(text_of(render(everything(), language))) & ((english | {"other"}) - own - names)
    assert not left


def test_a_large_shop_makes_a_page_of_under_2_mb_without_address() -> None:
    page = render(everything(), "uk")
    assert len(page.encode()) < 2_000_000
    assert page.count("<script") == 1  # its own, which MLflow's frame lets run
    assert "http" not in page
    assert page.startswith("<!DOCTYPE html>")
    assert page == render(json.loads(json.dumps(everything())), "uk")


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", "2,389 known customers 45% have ordered 50% of buyers ordered again 51,478 orders 1 action in the log"),
        ("uk", "2 389 відомих клієнтів 45% замовляли 50% покупців замовили ще раз 51 478 замовлень 1 дія в журналі"),
        ("ru", "2 389 известных клиентов 45% заказывали 50% покупателей заказали ещё раз 51 478 заказов 1 действие в журнале"),
        ("sq", "2 389 klientë të njohur 45% kanë porositur 50% e blerësve porositën sërish 51 478 porosi 1 veprim në regjistër"),
    ],
)  # fmt: skip
def test_nouns_of_the_headline_figures_agree_with_their_numbers(language: str, expected: str) -> None:
    report = summary(segment("s01", "VIP"))
    report |= {"customer_count": 2389, "has_spend": False, "reading": {**report["reading"], "accepted_count": 1}}
    report["totals"] = {**report["totals"], "orders": 51478.0, "buyers": 1075, "repeat_buyers": 537}
    assert expected in re.sub(r"\s+", " ", text_of(render(report, language)))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_shop_without_clustered_customers(language: str) -> None:
    rule = {"stage": "active", "min_events": 3, "with_noise": False, "precision": 1.0, "coverage": 1.0}
    report = summary(segment("standing-active", "Quiet buyers", rule=rule, stability=None))
    report["quality"] |= {"algorithm": "rule", "silhouette": None, "rules_fidelity": None, "candidates": []}
    page = text_of(render(report, language))
    assert "Quiet buyers" in page
    assert read_texts(language)["trust.rule_stage"] in page


def test_prediction_is_mentioned_only_if_it_was_measured() -> None:
    report = summary(segment("s01", "VIP"))
    for predicted, message in (
        ((0.7, None), "on earlier dates, predicted"),
        ((None, None), "too short to measure predictions"),
    ):
        report["quality"]["candidates"] = [candidate("kmeans", 8, buys_auc=auc) for auc in predicted]
        assert message in text_of(render(report, "en"))


def test_order_of_sections() -> None:
    page = render(everything(), "en")
    order = ["monday", "segments", "interests", "changes", "funnel", "crossings", "data", "trust", "glossary"]
    places = [page.index(f'<h2 id="{key}">') for key in order]
    assert places == sorted(places)


def test_revenue_of_a_small_segment_is_hidden() -> None:
    small = segment("s02", "Few", customer_count=10, is_small=True, figures={}, stability=None, spend_share=None)
    report = summary(segment("s01", "VIP"), small)
    assert "Few &lt;10 50% – Write." not in text_of(render(report, "en"))
    assert "Few &lt;10 50% –" in text_of(render(report, "en"))


def test_informative_crosstabs_are_shown() -> None:
    report = summary(segment("s01", "VIP"), segment("s02", "Browsers"))
    assert {table["by"] for table in report["crossings"]} == {"lifecycle_stage", "temperature"}
    assert "“VIP” in “hot”: 2.0×" in text_of(render(report, "en"))
    assert summary(segment("s01", "VIP"))["crossings"] == []


def test_revenue_of_the_top_buyers() -> None:
    report = summary(segment("s01", "VIP"))
    tiers = [{"tier": "vip", "customer_count": 20, "customer_share": 0.2, "spend_share": 0.6}]
    shares = [(0.0, 0.0), (0.1, 0.4), (0.2, 0.6), (1.0, 1.0)]
    curve = [{"customer_share": buyers, "spend_share": spend} for buyers, spend in shares]
    page = render(report | {"revenue": {"tiers": tiers, "curve": curve}}, "en")
    assert "The top 20% of buyers bring in 60% of revenue." in text_of(page)
    assert '<polyline points="0.0,100.0 10.0,60.0 20.0,40.0 100.0,0.0 "></polyline>' in page
    assert "VIP 20% 60%" in text_of(page)
    assert "Who brings in the revenue" not in text_of(render(report | {"revenue": None}, "en"))


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1300])
def test_axe_finds_no_barrier(scheme: str, width: int, tmp_path: Path) -> None:
    page = render(everything(), "en").replace("<details", "<details open")
    if scheme == "dark":
        page = page.replace("screen and (prefers-color-scheme: dark)", "screen")
    assert barriers(page, tmp_path, width=width) == []


def luminance(colour: np.ndarray) -> float:
    """WCAG 2.2, relative luminance."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["more", "less"])
def test_text_on_the_strongest_cell_is_readable(scheme: int, kind: str) -> None:
    """axe cannot judge text on shapes of SVG."""
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    hexes = {name: re.findall(rf"--{name}: #(\w{{6}})", style)[scheme] for name in ("paper", "ink")}
    paper, ink = (np.array([int(code[place : place + 2], 16) for place in (0, 2, 4)]) / 255 for code in hexes.values())
    shade = np.array(re.findall(rf"--{kind}: (\d+), (\d+), (\d+)", style)[scheme], dtype=float) / 255
    cell = luminance(MAX_OPACITY * shade + (1 - MAX_OPACITY) * paper)
    light, dark = max(cell, luminance(ink)), min(cell, luminance(ink))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_a_full_bar_does_not_touch_the_next_cell() -> None:
    full, half = (Cell(kind="bar", strength=0.3, bar=share) for share in (1.0, 0.5))
    [row] = grid(["a"], ["b", "c"], [[full, half]], title="", desc="").rows
    first, second = row.cells
    assert first.x + first.width < second.x
    assert first.width == pytest.approx(2 * second.width, abs=0.02)
