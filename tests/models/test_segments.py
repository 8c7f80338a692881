"""Segments as immutable values, and the rows of segments.json that they become."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.lifts import Interest
from models.naming import LANGUAGES
from models.segment_names import Bounds, Evidence, Naming, SegmentNames
from models.segments import Card, CardLine, Retention, RuleCondition, SegmentRule
from tests.segments import names_of, segment_of

NAMES = SegmentNames({"en": "Regulars", "uk": "Постійні"})


def test_the_name_given_by_hand_is_shown_in_all_languages_until_it_is_removed() -> None:
    given = NAMES.with_given("Friends")
    assert given.in_languages() == {"en": "Friends", "uk": "Friends"} and given.by_figures == NAMES.by_figures
    assert NAMES.is_by_figures and not given.is_by_figures
    assert [given.with_given(none).shown("uk") for none in (None, "")] == ["Постійні"] * 2


def test_names_are_read_from_rows_of_this_and_of_earlier_versions() -> None:
    row = {"names": {"en": "Friends", "uk": "Friends"}, "names_by_figures": NAMES.by_figures}
    assert SegmentNames.from_dict(row) == NAMES.with_given("Friends")
    assert SegmentNames.from_dict({**row, "names": NAMES.by_figures}) == NAMES
    assert SegmentNames.from_dict({"names": NAMES.by_figures}) == NAMES  # older runs have only `names`


def test_additions_change_the_name_by_figures_and_a_number_is_marked() -> None:
    longer = NAMES.with_addition(" · ", {"en": "Cats", "uk": "Коти"})
    assert longer.by_figures == {"en": "Regulars · Cats", "uk": "Постійні · Коти"} and not longer.is_numbered
    assert NAMES.with_number(2).by_figures["uk"] == "Постійні 2" and NAMES.with_number(2).is_numbered


def test_evidence_is_written_without_what_is_not_known_and_read_again() -> None:
    evidence = Evidence("spend_per_customer", 9.0, 3.0, condition=Bounds(min_ratio=2.0), held_share=0.0)
    row = evidence.as_dict()
    assert row == {
        **{"figure": "spend_per_customer", "value": 9.0, "shop": 3.0},
        **{"condition": {"min_ratio": 2.0}, "held_share": 0.0},
    }
    assert list(row) == ["figure", "value", "shop", "condition", "held_share"]
    assert Evidence.from_dict({**row, "of_an_older_version": 1}) == evidence


@pytest.mark.parametrize(
    ("naming", "kind"),
    [
        (Naming(NAMES, "vip", evidence=(Evidence("spend", 1.0, 1.0),)), ("vip", None, ())),
        (
            Naming(NAMES, evidence=(Evidence("visits", 1.0, 1.0, condition=Bounds(max_ratio=1.0)),)),
            (None, "visits", ("max_ratio",)),
        ),
        (Naming(NAMES), (None, None, ())),
    ],
)
def test_the_kind_of_a_name_is_its_archetype_or_its_first_figure(
    naming: Naming, kind: tuple[str | None, str | None, tuple[str, ...]]
) -> None:
    assert naming.kind == kind
    row = segment_of("s01", naming=naming).as_dict("en")
    assert Naming.from_dict(row) == naming


def test_a_segment_becomes_a_row_of_segments_json() -> None:
    line = CardLine(
        "city", is_attribute=True, value="Lviv", figure=0.5, shop=0.2, lift=2.5, q_value=0.01, customer_count=9
    )
    condition = RuleCondition("order_count", is_above=True, bound=2.0, is_share=False, label="order_count")
    segment = replace(
        segment_of("s01", "VIP", top_categories=(Interest("P > Cats", "Cats", 0.5, 3.0, 2.5, 50),)),
        rule=SegmentRule("orders above 2", (condition,), precision=0.9, coverage=0.8),
        card=Card(where=(line,)),
        retention=Retention(days=30, is_sample=False, share=0.6, net_share=-0.1),
    ).with_names(names_of("VIP").with_given("Ours"))
    in_all_languages = dict.fromkeys(LANGUAGES, "Ours")
    row = segment.as_dict("uk")
    assert row == {
        **{"facet": "behaviour", "segment_id": "s01", "name": "Ours", "names": in_all_languages, "archetype": None},
        **{"is_standing": False, "customer_count": 50, "customer_share": 0.5, "spend_share": 0.5, "evidence": []},
        "top_categories": [
            {"category": "P > Cats", "label": "Cats", "share": 0.5, "lift": 3.0, "lift_low": 2.5, "customer_count": 50}
        ],
        **{"stability": 0.9, "is_stable": True, "stability_word": "stable", "playbook": {}, "avoid": {}},
        **{"is_small": False, "figures": {"customer_count": 50.0, "buyer_share": 0.5}},
        "names_by_figures": dict.fromkeys(LANGUAGES, "VIP"),
        "rule": {
            "text": "orders above 2",
            "conditions": [
                {"column": "order_count", "is_above": True, "bound": 2.0, "is_share": False, "label": "order_count"}
            ],
            **{"precision": 0.9, "coverage": 0.8},
        },
        "five_w": {
            **{"who": [], "what": [], "why": [], "when": []},
            "where": [
                {"topic": "city", "is_attribute": True, "value": "Lviv", "figure": 0.5, "shop": 0.2}
                | {"lift": 2.5, "q_value": 0.01, "customer_count": 9}
            ],
        },
        "retention": {"days": 30, "is_sample": False, "share": 0.6, "net_share": -0.1},
    }
    # Without naming.proposer there is no such key; with it, a segment without a valid proposal has null.
    for proposed, expected in (({}, None), ({"en": "A"}, {"en": "A"})):
        asked = segment.with_names(replace(segment.names, proposed=proposed))
        assert asked.as_dict("en")["proposed_names"] == expected


def test_the_rule_of_a_rule_based_group_has_no_conditions() -> None:
    rule = SegmentRule("lost", stage="lost", with_noise=False, min_events=3)
    assert rule.as_dict() == {
        **{"text": "lost", "stage": "lost", "with_noise": False, "min_events": 3},
        **{"precision": 1.0, "coverage": 1.0},
    }
    assert segment_of("standing-lost").is_rule_based and not segment_of("s01").is_rule_based
