"""Names of segments: figures beside the shop's, archetypes as rules over them, and a name that is nobody else's.

A name rests on figures only, never on the number of a cluster, so that renumbering changes no name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from features.categories import OTHER, SEPARATOR

LANGUAGES = ("en", "uk", "ru", "sq")
WORDS: Mapping[str, tuple[str, str, str, str]] = {
    "interested": ("Interested in {}", "Цікавляться: {}", "Интересуются: {}", "Të interesuar për: {}"),
    "frequent": ("Frequent visitors", "Часті відвідувачі", "Частые посетители", "Vizitorë të shpeshtë"),
    "rare": ("Rare visitors", "Рідкісні відвідувачі", "Редкие посетители", "Vizitorë të rrallë"),
    "active": ("{}, more active", "{}, активніші", "{}, более активные", "{}, më aktivë"),
    "inactive": ("{}, less active", "{}, менш активні", "{}, менее активные", "{}, më pak aktivë"),
    "spending": ("{}, spending more", "{}, витрачають більше", "{}, тратят больше", "{}, shpenzojnë më shumë"),
    "sparing": ("{}, spending less", "{}, витрачають менше", "{}, тратят меньше", "{}, shpenzojnë më pak"),
    "recent": ("{}, seen lately", "{}, були нещодавно", "{}, были недавно", "{}, të parë së fundi"),
    "away": ("{}, away longer", "{}, довше відсутні", "{}, дольше отсутствуют", "{}, më gjatë larg"),
    "noise": ("In between", "Поза групами", "Вне групп", "Jashtë grupeve"),
}
TELLING_APART = (
    ("spend_per_customer", "spending", "sparing"),
    ("events_per_customer", "active", "inactive"),
    ("days_since_last_event", "away", "recent"),
)
"""Figure, word for those above the mean of their like, word for those below."""
MEANS = {
    "events_per_customer": "event_count",
    "visits_per_customer": "session_count",
    "views_per_customer": "view_count",
    "searches_per_customer": "search_count",
    "favourites_per_customer": "favourite_count",
    "carts_per_customer": "cart_count",
    "contacts_per_customer": "contact_count",
    "orders_per_customer": "order_count",
    "spend_per_customer": "spend",
    **{
        name: name
        for name in (
            "temperature_points",
            "days_since_last_event",
            "days_since_first_event",
            "days_since_last_purchase",
            "price_level",
            "weekend_share",
            "night_share",
            "morning_share",
            "afternoon_share",
            "evening_share",
        )
    },
}
"""Figure -> the profile's column that it is the mean of."""


@dataclass(frozen=True)
class Interest:
    """A category that a segment turns to."""

    category: str
    label: str
    share: float
    lift: float


def segment_figures(profile: pd.DataFrame, segment_ids: Sequence[str] | np.ndarray) -> pd.DataFrame:
    """What each segment is and does, as numbers.

        profile (one row per customer), segment_ids (n,)
     -> figures (segment_id, <figure>...)     one row per segment, and one named "shop" for everybody

    Means are over the customers for whom the measure is known; rates are pooled, such as returned items over bought
    items. ``stage_<name>_share`` is the share of customers in each lifecycle stage. Null: cannot be said.
    """
    table = profile.assign(
        segment_id=np.asarray(segment_ids, dtype=object),
        is_buyer=profile.order_count > 0,
        is_repeat_buyer=profile.order_count > 1,
        is_cart_user=profile.cart_session_count > 0,
        discounted_items=(profile.discount_share * profile.item_count).fillna(0.0),
    )
    both = pd.concat([table, table.assign(segment_id="shop")], ignore_index=True)
    grouped = both.groupby("segment_id", sort=True)
    sums = grouped[
        [
            *(
                "spend",
                "order_count",
                "item_count",
                "returned_item_count",
                "cart_session_count",
                "abandoned_cart_count",
            ),
            *("view_count", "is_buyer", "is_repeat_buyer", "is_cart_user", "discounted_items"),
        ]
    ].sum()
    count = grouped.size()
    figures = pd.DataFrame({name: grouped[column].mean() for name, column in MEANS.items()}).assign(
        customer_count=count,
        customer_share=count / max(len(profile), 1),
        spend_share=sums.spend / max(float(profile.spend.sum()), 1e-9),
        buyer_share=sums.is_buyer / count,
        repeat_buyer_share=sums.is_repeat_buyer / count,
        cart_user_share=sums.is_cart_user / count,
        orders_per_buyer=_ratio(sums.order_count, sums.is_buyer),
        average_order_value=_ratio(sums.spend, sums.order_count),
        return_rate=_ratio(sums.returned_item_count, sums.item_count),
        discount_share=_ratio(sums.discounted_items, sums.item_count),
        abandoned_cart_share=_ratio(sums.abandoned_cart_count, sums.cart_session_count),
        views_per_order=_ratio(sums.view_count, sums.order_count),
    )
    stages = pd.crosstab(both.segment_id, both.lifecycle_stage, normalize="index")
    return figures.join(stages.add_prefix("stage_").add_suffix("_share"))


def _ratio(above: pd.Series, below: pd.Series) -> pd.Series:
    return above / below.where(below > 0)


def top_interests(
    shares: pd.Series, lifts: pd.Series, *, min_lift: float, min_share: float, most: int, labels: Mapping[str, str]
) -> list[Interest]:
    """Distinctive interests of one segment, the highest lift first; OTHER is none."""
    kept = [name for name in shares.index if name != OTHER and lifts[name] >= min_lift and shares[name] >= min_share]
    kept.sort(key=lambda name: (-round(float(lifts[name]), 9), name))
    return [Interest(name, labels[name], float(shares[name]), float(lifts[name])) for name in kept[:most]]


def category_labels(categories: Sequence[str], *, most_chars: int = 40) -> dict[str, str]:
    """The last part of each path, with the part above it where two would be alike; shortened for people.

    Examples
    --------
    >>> category_labels(["Pets > Cats > Food", "Pets > Dogs > Food", "Home > Lamps"])
    {'Pets > Cats > Food': 'Cats › Food', 'Pets > Dogs > Food': 'Dogs › Food', 'Home > Lamps': 'Lamps'}
    """
    parts = {category: category.split(SEPARATOR) for category in categories}
    depth = dict.fromkeys(categories, 1)
    while True:
        labels = {category: " › ".join(path[-depth[category] :]) for category, path in parts.items()}
        counts = pd.Series(labels).value_counts()
        clashing = [one for one in categories if counts[labels[one]] > 1 and depth[one] < len(parts[one])]
        if not clashing:
            break
        for category in clashing:
            depth[category] += 1
    return {
        category: label if len(label) <= most_chars else f"{label[: most_chars - 1]}…"
        for category, label in labels.items()
    }


def matching_archetype(
    figures: Mapping[str, float], shop: Mapping[str, float], archetypes: Sequence[Mapping[str, Any]]
) -> tuple[Mapping[str, Any] | None, list[dict[str, Any]]]:
    """The first archetype by priority whose conditions all hold, and the figures that carry it."""
    for archetype in sorted(archetypes, key=lambda one: (one["priority"], one["id"])):
        conditions: Mapping[str, Mapping[str, float | None]] = archetype["when"]
        if all(_holds(figures.get(name), shop.get(name), bounds) for name, bounds in conditions.items()):
            return archetype, [_evidence(name, figures, shop, bounds) for name, bounds in conditions.items()]
    return None, []


def _holds(value: float | None, shop: float | None, bounds: Mapping[str, float | None]) -> bool:
    """Whether a figure is within its bounds; one that cannot be said is in none."""
    own = np.nan if value is None else value
    ratio = own / shop if shop else np.nan
    for bound, limit in bounds.items():
        compared = ratio if bound.endswith("_ratio") else own
        if limit is not None and not (compared >= limit if bound.startswith("min") else compared <= limit):
            return False
    return True


def _evidence(
    name: str, own: Mapping[str, float], shop: Mapping[str, float], bounds: Mapping[str, float | None]
) -> dict[str, Any]:
    return {
        "figure": name,
        "value": float(own[name]),
        "shop": float(shop[name]),
        "condition": {bound: limit for bound, limit in bounds.items() if limit is not None},
    }


def name_segments(
    figures: pd.DataFrame, interests: Mapping[str, Sequence[Interest]], archetypes: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """A name in each language for every segment, its archetype, playbook and evidence; names are unique.

    Parameters
    ----------
    figures : DataFrame
        `segment_figures` of the segments to name, and "shop".
    interests : mapping
        segment_id -> `top_interests`.
    """
    shop = _figures_of(figures, "shop")
    found: dict[str, dict[str, Any]] = {}
    for segment_id in figures.index.drop("shop"):
        own = _figures_of(figures, segment_id)
        archetype, evidence = matching_archetype(own, shop, archetypes)
        plain = [_evidence(name, own, shop, {}) for name in ("events_per_customer", "days_since_last_event")]
        found[segment_id] = {
            "archetype": archetype["id"] if archetype else None,
            "names": dict(archetype["name"]) if archetype else _plain_names(own, shop, interests[segment_id]),
            "playbook": dict(archetype["playbook"]) if archetype else {},
            "evidence": evidence or plain,
        }
    if "noise" in found:
        found["noise"] = {**found["noise"], "archetype": None, "names": in_languages("noise"), "playbook": {}}
    _tell_apart_by_interest(found, interests)
    _tell_apart_by_behaviour(found, figures)
    return found


def _figures_of(figures: pd.DataFrame, segment_id: str) -> dict[str, float]:
    return {str(name): float(value) for name, value in figures.T[segment_id].to_dict().items()}


def _plain_names(own: Mapping[str, float], shop: Mapping[str, float], interests: Sequence[Interest]) -> dict[str, str]:
    if interests:
        return in_languages("interested", interests[0].label)
    return in_languages("frequent" if own["events_per_customer"] >= shop["events_per_customer"] else "rare")


def in_languages(word: str, text: str | Mapping[str, str] = "") -> dict[str, str]:
    """One of WORDS in every language, around ``text`` (one for all, or one each)."""
    return {
        language: WORDS[word][index].format(text if isinstance(text, str) else text[language])
        for index, language in enumerate(LANGUAGES)
    }


def _tell_apart_by_interest(found: dict[str, dict[str, Any]], interests: Mapping[str, Sequence[Interest]]) -> None:
    for group in _alike(found):
        for segment_id in group:
            others = {label for other in group if other != segment_id for label in _first_labels(interests[other])}
            names = found[segment_id]["names"]
            own = next((one.label for one in interests[segment_id] if one.label not in others), None)
            if own is not None and own not in names["en"]:
                found[segment_id]["names"] = {language: f"{name} · {own}" for language, name in names.items()}


def _first_labels(interests: Sequence[Interest]) -> list[str]:
    return [interest.label for interest in interests[:1]]


def _tell_apart_by_behaviour(found: dict[str, dict[str, Any]], figures: pd.DataFrame) -> None:
    for figure, above, below in TELLING_APART:
        for group in _alike(found):
            values = figures.loc[group, figure].astype(float).fillna(0.0)
            if values.max() <= values.min() * 1.05:
                continue
            for segment_id in group:
                word = above if values[segment_id] > values.mean() else below
                found[segment_id]["names"] = in_languages(word, found[segment_id]["names"])
    # Alike in every figure: the larger first, as centuries of kings were told apart.
    sizes: dict[str, float] = figures["customer_count"].to_dict()  # type: ignore[assignment]
    for group in _alike(found):
        by_size = sorted(group, key=lambda one: (-sizes[one], one))
        for place, segment_id in enumerate(by_size[1:], start=2):
            names = found[segment_id]["names"]
            found[segment_id]["names"] = {language: f"{name} {'I' * place}" for language, name in names.items()}


def _alike(found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for segment_id in sorted(found):
        groups.setdefault(found[segment_id]["names"]["en"], []).append(segment_id)
    return [group for group in groups.values() if len(group) > 1]
