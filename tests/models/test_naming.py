from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.archetypes import matching_archetype
from models.lifts import Interest
from models.naming import in_languages
from models.segment_metrics import FIGURES
from models.segment_names import Bounds, Evidence, Naming
from pipeline.config.errors import ParamsError
from pipeline.config.load import load_params
from pipeline.segmentation.descriptions.names import name_rules

PARAMS = Path(__file__).parents[2] / "params.yaml"
NAMING = load_params(PARAMS).naming
RULES = name_rules(NAMING)
LANGUAGES = ("en", "uk", "ru", "sq")


def shop_figures(**segments: dict[str, float]) -> pd.DataFrame:
    base = {
        "customer_count": 100.0, "spend_per_customer": 100.0, "orders_per_buyer": 3.0, "orders_per_customer": 1.5, "days_since_last_purchase": 60.0,
        "buyer_share": 0.5, "repeat_buyer_share": 0.3, "return_rate": 0.03, "discount_share": 0.15,
        "events_per_customer": 20.0, "visits_per_customer": 6.0, "views_per_customer": 15.0, "days_since_last_event": 60.0,
        "days_since_first_event": 200.0, "days_since_first_purchase": 180.0, "abandoned_cart_share": 0.4, "cart_user_share": 0.4,
        "stage_lost_share": 0.1, "past_buyer_share": 0.2, "lapsed_buyer_share": 0.1, "price_level": 1.0,
        "evening_share": 0.3, "weekend_share": 0.3, "back_without_order_share": 0.2, "abandoned_carts_per_customer": 1.0, "returned_items_per_customer": 0.2,
    }  # fmt: skip
    return pd.DataFrame({name: {**base, **own} for name, own in {**segments, "shop": {}}.items()}).T


def average_members(figures: pd.DataFrame) -> pd.DataFrame:
    """One customer per segment, equal to the mean of the segment."""
    names = [
        name
        for name in figures
        if not name.endswith("_share")
        or name in ("discount_share", "evening_share", "weekend_share", "abandoned_cart_share")
    ]
    return figures.drop(index="shop")[names]


ABANDONER = {
    **{"abandoned_cart_share": 0.9, "cart_user_share": 0.9, "abandoned_carts_per_customer": 3.0, "buyer_share": 0.1},
    "days_since_last_event": 30.0,
}
AWAY = {"days_since_last_event": 200.0, "days_since_last_purchase": 250.0}
VIP = {"spend_per_customer": 500.0, "orders_per_buyer": 9.0, "days_since_last_purchase": 10.0, "buyer_share": 1.0}


@pytest.mark.parametrize(
    ("expected", "own"),
    [
        ("vip", VIP),
        ("difficult", {**VIP, "return_rate": 0.4, "returned_items_per_customer": 4.0}),
        ("bargain_hunter", {"discount_share": 0.9, "buyer_share": 0.9}),
        ("lost", {"stage_lost_share": 0.8, "days_since_last_event": 270.0}),
        ("high_spender", {**VIP, "spend_per_customer": 300.0, "repeat_buyer_share": 0.9}),
        ("lapsed", {"buyer_share": 0.9, "lapsed_buyer_share": 0.8, "days_since_last_event": 130.0}),
        ("lapsed_repeat", {"lapsed_buyer_share": 0.9, "repeat_buyer_share": 0.8, "stage_lost_share": 0.8, **AWAY}),
        # No recent order, but still visiting.
        (
            "paused",
            {
                **{"buyer_share": 0.9, "lapsed_buyer_share": 0.8, "past_buyer_share": 0.9, "repeat_buyer_share": 0.6},
                **{"back_without_order_share": 0.9, "days_since_last_purchase": 150.0, "days_since_last_event": 9.0},
            },
        ),
        ("cart_abandoner", ABANDONER),
        ("cart_abandoner", {**ABANDONER, "buyer_share": 1.0, "lapsed_buyer_share": 0.9, "days_since_last_event": 90.0}),
        ("cart_only", {**ABANDONER, "abandoned_carts_per_customer": 1.2}),
        ("open_cart", {**ABANDONER, "buyer_share": 0.5, "days_since_last_event": 4.0}),
        ("browser", {"buyer_share": 0.0, "cart_user_share": 0.1, "orders_per_buyer": np.nan}),
        ("left", {"buyer_share": 0.0, "days_since_last_event": 150.0}),
        ("new", {"days_since_first_purchase": 30.0, "days_since_first_event": 40.0, "buyer_share": 0.8}),
        ("recent", {"days_since_first_purchase": 30.0, "days_since_last_purchase": 20.0, "buyer_share": 0.8}),
        ("promising", {"days_since_first_event": 30.0, "days_since_last_event": 5.0, "buyer_share": 0.1}),
        (
            "one_time",
            {"buyer_share": 0.9, "orders_per_buyer": 1.1, "repeat_buyer_share": 0.1, "visits_per_customer": 2.0},
        ),
        # First visit and order were recent, but most have been silent for unusually long since: no longer new.
        (
            "one_time",
            {
                **{"days_since_first_event": 56.0, "days_since_first_purchase": 55.0, "days_since_last_event": 53.0},
                **{"buyer_share": 1.0, "repeat_buyer_share": 0.12, "orders_per_buyer": 1.13, "past_buyer_share": 0.86},
                **{"visits_per_customer": 2.0},
            },
        ),
        # A similar average number of orders, but two in five customers have ordered again.
        (
            "occasional",
            {"buyer_share": 1.0, "orders_per_buyer": 1.4, "repeat_buyer_share": 0.39, "days_since_last_purchase": 90.0},
        ),
        # Half of the customers have filled a cart and half have not, so neither name fits most of them.
        ("visitor", {**ABANDONER, "cart_user_share": 0.5, "buyer_share": 0.02}),
        ("glance", {"buyer_share": 0.0, "visits_per_customer": 1.2}),
        # Even in a shop whose buyers view a lot, a customer with 48 views and no order is a browser.
        (
            "browser",
            {"buyer_share": 0.0, "cart_user_share": 0.1, "views_per_customer": 48.0, "days_since_last_event": 8.0},
        ),
        ("at_risk", {"buyer_share": 0.9, "past_buyer_share": 0.7, "repeat_buyer_share": 0.8}),
        (
            "quiet",
            {"buyer_share": 0.9, "past_buyer_share": 0.7, "repeat_buyer_share": 0.8, "days_since_last_event": 30.0},
        ),
        ("regular", {"buyer_share": 0.9, "repeat_buyer_share": 0.8}),
        # Nearly all have ordered again, though not often enough to be regulars: "recent" would hide that.
        (
            "repeat",
            {
                **{"buyer_share": 1.0, "repeat_buyer_share": 0.98, "past_buyer_share": 0.22},
                **{"orders_per_customer": 0.9, "days_since_last_purchase": 40.0},
            },
        ),
        # One order 40 days ago, and most are slipping away since: no longer recent, too early for one_time.
        (
            "occasional",
            {
                **{"buyer_share": 1.0, "repeat_buyer_share": 0.11, "past_buyer_share": 0.65, "orders_per_buyer": 1.1},
                **{"days_since_last_purchase": 40.0, "days_since_first_purchase": 40.0},
            },
        ),
        # New, but two in five have ordered again: a reason for the second order is too late for them.
        (
            "recent",
            {
                **{"days_since_first_purchase": 30.0, "days_since_first_event": 40.0, "buyer_share": 0.8},
                **{"repeat_buyer_share": 0.4, "days_since_last_purchase": 20.0},
            },
        ),
    ],
)
def test_each_archetype_on_figures_made_for_it(expected: str, own: dict[str, float]) -> None:
    figures = shop_figures(one=own)
    found, evidence = matching_archetype(
        *(figures.loc["one"].to_dict(), figures.loc["shop"].to_dict(), RULES.archetypes),
        members=average_members(figures),
        min_held_share=NAMING.min_held_share,
    )
    assert found is not None
    assert found.id == expected
    assert {item.figure for item in evidence} == set(found.when)
    bounded = {name for name, bounds in found.when.items() if bounds.limits()}
    # Shares of customers have no held_share, because they already count customers.
    held_shares = {item.figure: item.held_share for item in evidence if item.held_share is not None}
    assert held_shares == dict.fromkeys(bounded & set(average_members(figures)), 1.0)


def named(
    figures: pd.DataFrame,
    interests: dict[str, Sequence[Interest]] | None = None,
    unstable: Sequence[str] = (),
    members: pd.DataFrame | None = None,
) -> dict[str, Naming]:
    return RULES.assign(
        figures,
        dict.fromkeys(figures.index, ()) | (interests or {}),
        members=average_members(figures) if members is None else members,
        unstable=unstable,
    )


def english(segments: dict[str, Naming]) -> dict[str, str]:
    return {segment_id: segment.names.by_figures["en"] for segment_id, segment in segments.items()}


REGULAR = {"buyer_share": 0.9, "repeat_buyer_share": 0.8}
CATS, DOGS = (Interest(f"P > {name}", name, 0.5, 3.0, 2.5, 50) for name in ("Cats", "Dogs"))


def test_a_figure_unknown_for_the_shop_is_no_evidence() -> None:
    shop = shop_figures(one={"stage_lost_share": 0.8, "days_since_last_event": 270.0})
    shop.loc["shop", "days_since_last_event"] = np.nan
    assert [item.figure for item in named(shop)["one"].evidence] == ["stage_lost_share"]


def test_a_null_return_rate_does_not_make_frequent_returners() -> None:
    """`segment_figures` gives null for a rate that one customer dominates."""
    shop = shop_figures(
        one={**REGULAR, "return_rate": 0.4, "returned_items_per_customer": 4.0},
        other={**REGULAR, "return_rate": np.nan},
    )
    assert english(named(shop)) == {"one": "Frequent returners", "other": "Regulars"}


def test_past_buyers_are_not_regulars() -> None:
    assert english(named(shop_figures(one={**REGULAR, "past_buyer_share": 0.7}))) == {"one": "At risk"}
    shop = shop_figures(one={**REGULAR, "past_buyer_share": 0.7})
    shop.loc["shop", "past_buyer_share"] = 0.7  # normal in this shop, but most are past buyers
    assert english(named(shop)) == {"one": "At risk"}
    shop.loc["one", "past_buyer_share"] = 0.45  # below the shop's share, and not most
    assert english(named(shop)) == {"one": "Regulars"}


def test_order_traits_use_the_last_order_and_visit_traits_the_last_visit() -> None:
    days = {"days_since_last_event": 4.0, "days_since_last_purchase": 24.0}
    found = english(
        named(shop_figures(one={**REGULAR, **days}, other={**REGULAR, **days, "days_since_last_purchase": 9.0}))
    )
    assert found == {"one": "Regulars, longer without an order", "other": "Regulars, ordered more recently"}
    seen = english(
        named(shop_figures(one={**REGULAR, **days}, other={**REGULAR, **days, "days_since_last_event": 20.0}))
    )
    assert seen == {"one": "Regulars, seen more recently", "other": "Regulars, longer without a visit"}


def test_segments_that_lead_in_nothing_are_compared_among_themselves() -> None:
    """Four segments as in the online_retail log, where two were called Regulars and Regulars 2."""
    spends = {"one": 816.0, "two": 1631.0, "three": 3159.0, "four": 4816.0}
    orders = {"one": 3.1, "two": 4.7, "three": 9.2, "four": 11.0}
    own = {
        name: {**REGULAR, "spend_per_customer": spend, "orders_per_customer": orders[name]}
        for name, spend in spends.items()
    }
    found = named(shop_figures(**own))
    assert english(found) == {
        **{"one": "Regulars, spending less", "two": "Regulars", "four": "Regulars, spending more"},
        "three": "Regulars, ordering more often",
    }
    evidence = {item.figure: item for item in found["three"].evidence}
    assert evidence["orders_per_customer"].nearest_peer == orders["two"]
    # Another segment of the same name now orders clearly more often than both.
    own["four"]["orders_per_customer"] = 20.0
    assert sorted(english(named(shop_figures(**own))).values())[:2] == ["Regulars", "Regulars 2"]


def test_traits_of_a_few_buyers_do_not_name_browsers() -> None:
    browsers = {"buyer_share": 0.05, "orders_per_buyer": 1.0, "cart_user_share": 0.1}
    figures = shop_figures(
        one={**browsers, "days_since_last_purchase": 5.0, "price_level": 0.5},
        other={**browsers, "days_since_last_purchase": 50.0, "price_level": 2.0},
    )
    assert sorted(english(named(figures)).values()) == ["Browsers", "Browsers 2"]


def test_an_unstable_segment_is_named_by_activity_and_has_no_playbook() -> None:
    found = named(shop_figures(one=REGULAR, two=REGULAR), {"one": [CATS]}, unstable=["one"])
    assert english(found)["two"] == "Regulars"
    assert found["one"].names.by_figures["en"] == "Usual visitors"
    assert found["one"].archetype is None
    assert found["one"].playbook == found["one"].avoid == {}


def members_of(figures: pd.DataFrame, figure: str, **values: list[float]) -> pd.DataFrame:
    """Ten customers per segment, equal to its mean except for their own ``values`` of one figure."""
    table = average_members(figures).loc[np.repeat(list(values), 10)]
    return table.assign(**{figure: np.concatenate([*values.values()])})


def test_a_mean_between_two_groups_does_not_name_a_segment() -> None:
    """In a simulated shop, `Looked and left` had a mean of 238 days over two different groups."""
    looked = {"buyer_share": 0.0, "cart_user_share": 0.1, "visits_per_customer": 2.0, "days_since_last_event": 150.0}
    figures = shop_figures(one=looked)
    all_gone = members_of(figures, "days_since_last_event", one=[120.0] * 3 + [165.0] * 7)
    found = named(figures, members=all_gone)["one"]
    assert found.names.by_figures["en"] == "Looked and left"
    assert found.evidence[-1] == Evidence(
        "days_since_last_event", 150.0, 60.0, condition=Bounds(min=90.0), held_share=1.0
    )
    half_here = members_of(figures, "days_since_last_event", one=[5.0] * 5 + [295.0] * 5)
    assert named(figures, members=half_here)["one"].names.by_figures["en"] == "Looked once or twice"
    most_gone = members_of(figures, "days_since_last_event", one=[45.0] * 2 + [195.0] * 8)
    assert named(figures, members=most_gone)["one"].evidence[-1].held_share == 0.8


def test_a_customer_with_an_unknown_figure_does_not_meet_the_condition() -> None:
    figures = shop_figures(one={"buyer_share": 0.9, "discount_share": 0.9})
    for known, name in ((8, "Bargain hunters"), (7, "Recent buyers")):
        members = members_of(figures, "discount_share", one=[0.9] * known + [np.nan] * (10 - known))
        assert english(named(figures, members=members)) == {"one": name}


def test_a_trait_must_fit_most_customers() -> None:
    figures = shop_figures(one={**REGULAR, "spend_per_customer": 300.0}, two=REGULAR)
    two = [80.0] * 5 + [120.0] * 5
    most = members_of(figures, "spend_per_customer", one=[90.0] * 2 + [390.0] * 8, two=two)
    found = named(figures, members=most)
    assert english(found) == {"one": "Regulars, spending more", "two": "Regulars, spending less"}
    assert found["one"].evidence[-1].ahead_share == 0.8
    one_rich = members_of(figures, "spend_per_customer", one=[90.0] * 9 + [2190.0], two=two)
    assert english(named(figures, members=one_rich)) == {"one": "Regulars 2", "two": "Regulars"}


def test_a_segment_without_a_majority_is_called_mixed() -> None:
    figures = shop_figures(one={"visits_per_customer": 6.0})
    halves = members_of(figures, "visits_per_customer", one=[1.0] * 5 + [11.0] * 5)
    found = named(figures, members=halves, unstable=["one"])["one"]
    assert found.names.by_figures["en"] == "Mixed customers"
    assert [item.figure for item in found.evidence] == ["visits_per_customer"]
    gone = shop_figures(one={"days_since_last_event": 200.0})
    assert english(named(gone, unstable=["one"])) == {"one": "Not seen for a while"}


def test_segments_of_the_same_name_are_distinguished_by_interest_first() -> None:
    own = {"a": REGULAR, "b": {**REGULAR, "spend_per_customer": 300.0}}
    found = named(shop_figures(**own), {"a": [CATS, DOGS], "b": [DOGS]})
    assert english(found) == {"a": "Regulars · Cats", "b": "Regulars · Dogs"}
    assert found["a"].evidence[-1].as_dict() == {
        "figure": "interest: Cats",
        "value": 0.5,
        "shop": pytest.approx(1 / 6),
        "customer_count": 50,
        "condition": {},
    }


def test_the_remainder_of_a_category_is_translated() -> None:
    rest = Interest("Pets > Cats > other Cats", "other Cats", 0.5, 3.0, 2.5, 50)
    found = named(shop_figures(a=REGULAR, b=REGULAR), {"a": [rest], "b": [DOGS]})
    assert set(found["a"].names.by_figures.values()) == {
        *("Regulars · other Cats", "Постійні покупці · Cats (інше)"),
        *("Постоянные покупатели · Cats (прочее)", "Blerës të rregullt · Cats (të tjera)"),
    }


def test_the_first_trait_that_leads_all_peers_distinguishes_a_segment() -> None:
    own = {
        "a": {**REGULAR, "spend_per_customer": 300.0},
        "b": {**REGULAR, "evening_share": 0.6},
        "c": {**REGULAR, "evening_share": 0.31, "weekend_share": 0.5},
        "d": {**REGULAR, "evening_share": 0.32},
    }
    found = named(shop_figures(**own))
    assert english(found) == {
        "a": "Regulars, spending more",
        "b": "Regulars, more active in the evening",
        "c": "Regulars, more active at weekends",
        "d": "Regulars",
    }
    item = found["b"].evidence[-1]
    assert (item.figure, item.value, item.shop, item.nearest_peer) == ("evening_share", 0.6, 0.3, 0.32)
    assert len(found["d"].evidence) == len(found["b"].evidence) - 1


def test_the_middle_of_three_segments_gets_its_own_word() -> None:
    spend = {"low": 50.0, "middle": 100.0, "high": 300.0}
    found = named(shop_figures(**{name: {**REGULAR, "spend_per_customer": value} for name, value in spend.items()}))
    assert english(found) == {
        "low": "Regulars, spending less",
        "middle": "Regulars, spending moderately",
        "high": "Regulars, spending more",
    }
    assert found["middle"].evidence[-1].nearest_peer == 50.0
    # A segment close to one of the others is not a middle one.
    spend["middle"] = 55.0
    found = named(shop_figures(**{name: {**REGULAR, "spend_per_customer": value} for name, value in spend.items()}))
    assert english(found)["high"] == "Regulars, spending more"
    assert "moderately" not in english(found)["middle"]


def test_tiny_shares_do_not_distinguish_segments() -> None:
    own = {"a": {**REGULAR, "evening_share": 0.012}, "b": {**REGULAR, "evening_share": 0.021}}
    assert english(named(shop_figures(**own))) == {"a": "Regulars", "b": "Regulars 2"}


def test_small_or_unknown_differences_do_not_distinguish_segments() -> None:
    own = {
        "a": {**REGULAR, "spend_per_customer": 120.0, "views_per_customer": 1.5, "price_level": 3.0},
        "b": {**REGULAR, "spend_per_customer": 100.0, "views_per_customer": 1.0, "price_level": np.nan},
    }
    own["b"]["customer_count"] = 99.0
    assert english(named(shop_figures(**own))) == {"a": "Regulars", "b": "Regulars 2"}


def test_names_are_unique_in_every_language() -> None:
    own = {name: {**VIP, "spend_per_customer": 500.0 + place} for place, name in enumerate("abcd")}
    own["c"]["spend_per_customer"] = own["d"]["spend_per_customer"] = 900.0
    found = named(shop_figures(**own), {"a": [CATS], "b": [DOGS]})
    assert found["a"].names.by_figures["en"] == "VIP · Cats"
    for language in LANGUAGES:
        assert len({segment.names.by_figures[language] for segment in found.values()}) == 4


def test_renumbering_clusters_changes_no_name() -> None:
    groups: dict[str, dict[str, float]] = {
        "vip": VIP,
        "lost": {"stage_lost_share": 0.8},
        "spender": {**REGULAR, "spend_per_customer": 300.0},
        "plain": REGULAR,
        "larger": {**REGULAR, "customer_count": 101.0},
        "older": {**REGULAR, "days_since_first_event": 201.0},
    }
    ids = [f"s{place:02}" for place in range(1, len(groups) + 1)]

    def names(order: tuple[str, ...]) -> dict[str, str]:
        ids_by_group = dict(zip(groups, order, strict=True))
        found = english(named(shop_figures(**{ids_by_group[group]: own for group, own in groups.items()})))
        return {group: found[ids_by_group[group]] for group in groups}

    first = names(tuple(ids))
    assert len(set(first.values())) == len(groups)
    assert all(names(order) == first for order in itertools.islice(itertools.permutations(ids), 0, None, 97))


def test_every_name_has_evidence_that_supports_it() -> None:
    own = {
        "vip": VIP,
        "cats": {"buyer_share": 0.2, "views_per_customer": 1.0},
        "rare": {"buyer_share": 0.2, "views_per_customer": 1.0, "visits_per_customer": 1.0},
        "frequent": {"buyer_share": 0.2, "views_per_customer": 1.0, "visits_per_customer": 8.0},
        "usual": {"buyer_share": 0.2, "views_per_customer": 1.0},
    }
    figures = shop_figures(**own)
    found = named(figures, {"cats": [CATS]})
    assert english(found) == {
        "vip": "VIP",
        "cats": "Interested in Cats",
        "rare": "Rare visitors",
        "frequent": "Frequent visitors",
        "usual": "Usual visitors",
    }
    for segment_id, segment in found.items():
        assert segment.evidence
        for item in segment.evidence:
            if item.figure in FIGURES:
                assert item.value == figures.loc[segment_id, item.figure]
            compared = {"min": item.value, "max": item.value} | dict.fromkeys(
                ("min_ratio", "max_ratio"), item.value / item.shop
            )
            for bound, limit in item.condition.limits().items():
                assert compared[bound] >= limit if bound.startswith("min") else compared[bound] <= limit


def test_naming_says_which_names_only_a_number_distinguishes() -> None:
    """A name by a category that ends in a number, such as `Level 2`, is not one of them."""
    level = Interest("Games > Level 2", "Level 2", 0.5, 3.0, 2.5, 50)
    found = named(shop_figures(a=REGULAR, b={**REGULAR, "customer_count": 99.0}, c=REGULAR), {"c": [level]})
    assert english(found) == {"a": "Regulars", "b": "Regulars 2", "c": "Regulars · Level 2"}
    assert [segment_id for segment_id, naming in found.items() if naming.names.is_numbered] == ["b"]


def test_noise_is_always_named_noise() -> None:
    assert named(shop_figures(noise=VIP))["noise"].names.by_figures == in_languages("noise")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "naming.archetypes.0.when={buyer_shar: {min: 1}}",
            r"archetypes.difficult.when`: expected a figure .*; nearest: buyer_share",
        ),
        ("naming.archetypes.0.when={}", "at least 1"),
        (
            "naming.traits.0.figure=spending",
            r"traits.spending.figure`: expected a figure of segments that Kindred knows",
        ),
        ("naming.archetypes.1.name.en=Passers-by", "twice: Passers-by"),
    ],
)
def test_invalid_naming_rules_are_rejected(override: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        load_params(PARAMS, [override])
