"""Names of segments: figures beside the shop's, archetypes as rules over them, and a name that is nobody else's.

A name rests on figures only, never on the number of a cluster, so that renumbering changes no name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from features.categories import OTHER, SEPARATOR
from features.journey import STAGES

LANGUAGES = ("en", "uk", "ru", "sq")
WORDS: Mapping[str, tuple[str, str, str, str]] = {
    "interested": ("Interested in {}", "Цікавляться: {}", "Интересуются: {}", "Të interesuar për: {}"),
    "frequent": ("Frequent visitors", "Часті відвідувачі", "Частые посетители", "Vizitorë të shpeshtë"),
    "rare": ("Rare visitors", "Рідкісні відвідувачі", "Редкие посетители", "Vizitorë të rrallë"),
    "noise": ("In between", "Поза групами", "Вне групп", "Jashtë grupeve"),
}
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
RATES = {
    "buyer_share": ("is_buyer", "customers"),
    "repeat_buyer_share": ("is_repeat_buyer", "customers"),
    "past_buyer_share": ("is_past_buyer", "customers"),
    "lapsed_buyer_share": ("is_lapsed_buyer", "customers"),
    "cart_user_share": ("is_cart_user", "customers"),
    "orders_per_buyer": ("order_count", "is_buyer"),
    "average_order_value": ("spend", "order_count"),
    "return_rate": ("returned_item_count", "item_count"),
    "discount_share": ("discounted_items", "item_count"),
    "abandoned_cart_share": ("abandoned_cart_count", "cart_session_count"),
    "views_per_order": ("view_count", "order_count"),
    **{f"stage_{stage}_share": (f"is_{stage}", "customers") for stage in STAGES},
}
"""Figure -> the two columns whose sums it is the ratio of."""
FIGURES = frozenset({*MEANS, *RATES, "customer_count", "customer_share", "spend_share"})
"""All that an archetype or a trait may ask for."""


@dataclass(frozen=True)
class Interest:
    """A category that a segment turns to.

    Attributes
    ----------
    share : float
        Mean over the segment's customers.
    lift, lift_low : float
        The share beside the shop's at the same times, and what it is at least.
    customer_count : int
        Who show it.
    """

    category: str
    label: str
    share: float
    lift: float
    lift_low: float
    customer_count: int


def segment_figures(profile: pd.DataFrame, segment_ids: Sequence[str] | np.ndarray) -> pd.DataFrame:
    """What each segment is and does, as numbers.

        profile (one row per customer), segment_ids (n,)
     -> figures (segment_id, <figure>...)     one row per segment, and one named "shop" for everybody

    Means are over the customers for whom the measure is known; rates are pooled, such as returned items over bought
    items. ``stage_<name>_share`` is the share of customers in each lifecycle stage; past buyers are slipping, lapsed or
    lost, lapsed ones lapsed or lost. Null: cannot be said.
    """
    stage = profile["lifecycle_stage"].astype(str)
    used = {*MEANS.values(), *(column for pair in RATES.values() for column in pair)}
    table = profile[[name for name in profile if name in used]].assign(
        segment_id=np.asarray(segment_ids, dtype=object),
        customers=1,
        is_buyer=profile.order_count > 0,
        is_repeat_buyer=profile.order_count > 1,
        is_past_buyer=stage.isin(["slipping", "lapsed", "lost"]),
        is_lapsed_buyer=stage.isin(["lapsed", "lost"]),
        is_cart_user=profile.cart_session_count > 0,
        discounted_items=(profile.discount_share * profile.item_count).fillna(0.0),
        **{f"is_{name}": stage == name for name in STAGES},
    )
    grouped = pd.concat([table, table.assign(segment_id="shop")], ignore_index=True).groupby("segment_id", sort=True)
    sums = grouped[sorted({column for pair in RATES.values() for column in pair})].sum()
    return pd.DataFrame(
        {
            **{name: grouped[column].mean() for name, column in MEANS.items()},
            **{name: sums[above] / sums[below].where(sums[below] > 0) for name, (above, below) in RATES.items()},
            "customer_count": sums.customers,
            "customer_share": sums.customers / max(len(profile), 1),
            "spend_share": sums.spend / max(float(profile.spend.sum()), 1e-9),
        }
    )


def top_interests(
    table: pd.DataFrame, *, min_lift: float, min_share: float, min_count: float, most: int, labels: Mapping[str, str]
) -> list[Interest]:
    """Distinctive interests of one segment, the highest lift first; OTHER is none.

    Parameters
    ----------
    table : DataFrame by category
        share: the segment's mean; lift: that beside the shop's; lift_low: its lower bound, which must be above 1;
        customer_count: those who show it. An interest that fewer than ``min_count`` show is theirs, not the segment's,
        however high its lift.
    """
    kept = table.drop(index=OTHER, errors="ignore").query(
        "lift >= @min_lift and lift_low > 1 and share >= @min_share and customer_count >= @min_count"
    )
    first = kept.assign(lift=kept.lift.round(9)).sort_index().sort_values("lift", ascending=False, kind="stable")[:most]
    return [
        Interest(
            str(name),
            labels[str(name)],
            float(row.share),
            float(row.lift),
            float(row.lift_low),
            int(row.customer_count),
        )
        for name, row in first.iterrows()
    ]


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
            known = [(name, bounds) for name, bounds in conditions.items() if not np.isnan(figures[name])]
            return archetype, [proof(name, figures, shop, bounds) for name, bounds in known]
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


def proof(
    name: str, own: Mapping[str, float], shop: Mapping[str, float], bounds: Mapping[str, float | None]
) -> dict[str, Any]:
    """A figure as evidence: the segment's, the shop's, and the bounds it keeps."""
    return {
        "figure": name,
        "value": float(own[name]),
        "shop": float(shop[name]),
        "condition": {bound: limit for bound, limit in bounds.items() if limit is not None},
    }


def name_segments(
    figures: pd.DataFrame,
    interests: Mapping[str, Sequence[Interest]],
    archetypes: Sequence[Mapping[str, Any]],
    *,
    traits: Sequence[Mapping[str, Any]],
    min_contrast: float,
    min_gap: float,
    unstable: Collection[str] = (),
) -> dict[str, dict[str, Any]]:
    """A name in each language for every segment, its archetype, playbook and evidence; names are unique.

    Segments with one name are told apart by an interest, else by a trait in which one of them is ahead of all its
    like, at last by a number. What a name says is in its evidence.

    Parameters
    ----------
    figures : DataFrame
        `segment_figures` of the segments to name, and "shop".
    interests : mapping
        segment_id -> `top_interests`.
    traits : sequence of mapping
        figure, and the words ``above`` and ``below`` in each language; the first that tells apart is taken.
    min_contrast, min_gap : float
        The larger figure must be ``min_contrast`` times the smaller, and apart by ``min_gap`` times the shop's.
    unstable : collection of str
        segment_ids that rarely come back: no archetype, no playbook, and a name that says how much they do, no more.
    """
    shop = _figures_of(figures, "shop")
    found = {
        segment_id: _first_name(
            _figures_of(figures, segment_id),
            shop,
            [] if segment_id in unstable else interests[segment_id],
            [] if segment_id in unstable else archetypes,
        )
        for segment_id in map(str, figures.index.drop("shop"))
    }
    if "noise" in found:
        found["noise"].update(archetype=None, names=in_languages("noise"), playbook={})
    _tell_apart_by_interest(found, interests)
    _tell_apart_by_trait(found, figures, traits, min_contrast, min_gap)
    _number(found, figures)
    return found


def _figures_of(figures: pd.DataFrame, segment_id: str) -> dict[str, float]:
    return {str(name): float(value) for name, value in figures.T[segment_id].to_dict().items()}


def _first_name(
    own: Mapping[str, float],
    shop: Mapping[str, float],
    interests: Sequence[Interest],
    archetypes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The name of the archetype; without one, of the first interest; without that, how much these customers do."""
    archetype, evidence = matching_archetype(own, shop, archetypes)
    if archetype:
        names, playbook = dict(archetype["name"]), dict(archetype["playbook"])
        return {"archetype": archetype["id"], "names": names, "playbook": playbook, "evidence": evidence}
    if interests:
        names, evidence = in_languages("interested", interests[0].label), [_interest_evidence(interests[0])]
    else:
        is_frequent = own["events_per_customer"] >= shop["events_per_customer"]
        bounds = {"min_ratio" if is_frequent else "max_ratio": 1.0}
        names = in_languages("frequent" if is_frequent else "rare")
        evidence = [proof("events_per_customer", own, shop, bounds)]
    return {"archetype": None, "names": names, "playbook": {}, "evidence": evidence}


def _interest_evidence(interest: Interest) -> dict[str, Any]:
    return {
        "figure": f"interest: {interest.label}",
        "value": interest.share,
        "shop": interest.share / interest.lift,
        "customer_count": interest.customer_count,
        "condition": {},
    }


def in_languages(word: str, text: str | Mapping[str, str] = "") -> dict[str, str]:
    """One of WORDS in every language, around ``text`` (one for all, or one each)."""
    return {
        language: WORDS[word][index].format(text if isinstance(text, str) else text[language])
        for index, language in enumerate(LANGUAGES)
    }


def _tell_apart_by_interest(found: dict[str, dict[str, Any]], interests: Mapping[str, Sequence[Interest]]) -> None:
    for group in _alike(found):
        for segment_id in group:
            others = {one.label for other in group if other != segment_id for one in interests[other][:1]}
            names = found[segment_id]["names"]
            own = next((one for one in interests[segment_id] if one.label not in others), None)
            if own is not None and own.label not in names["en"]:
                found[segment_id]["names"] = {language: f"{name} · {own.label}" for language, name in names.items()}
                found[segment_id]["evidence"].append(_interest_evidence(own))


def _tell_apart_by_trait(
    found: dict[str, dict[str, Any]],
    figures: pd.DataFrame,
    traits: Sequence[Mapping[str, Any]],
    min_contrast: float,
    min_gap: float,
) -> None:
    """Each segment gets the first word that holds for it against all its like; so no two get the same."""
    shop = _figures_of(figures, "shop")
    for group in _alike(found):
        untold = set(group)
        for trait in traits:
            figure = trait["figure"]
            values = figures.loc[group, figure].astype(float).sort_values(kind="stable")
            for word, first, second in (("above", -1, -2), ("below", 0, 1)):
                segment_id, (low, high) = str(values.index[first]), sorted(values.iloc[[first, second]])
                is_apart = high > low and high >= min_contrast * low and high - low >= min_gap * shop[figure]
                if not is_apart or segment_id not in untold or values.isna().any():
                    continue
                untold.remove(segment_id)
                one = found[segment_id]
                one["names"] = {language: f"{name}, {trait[word][language]}" for language, name in one["names"].items()}
                told = {item["figure"]: item for item in one["evidence"]}
                told.setdefault(figure, proof(figure, _figures_of(figures, segment_id), shop, {}))
                told[figure]["nearest_like"] = float(values.iloc[second])
                one["evidence"] = list(told.values())


def _number(found: dict[str, dict[str, Any]], figures: pd.DataFrame) -> None:
    """Alike in all that was asked: the largest keeps the name, the others get 2, 3, ..., whatever their cluster."""
    for group in _alike(found):
        place = figures.loc[group].fillna(-1.0).sort_values([*figures.columns], kind="stable")
        by_size = place.sort_values("customer_count", ascending=False, kind="stable").index
        for number, segment_id in enumerate(by_size[1:], start=2):
            names = found[segment_id]["names"]
            found[segment_id]["names"] = {language: f"{name} {number}" for language, name in names.items()}


def _alike(found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for segment_id in sorted(found):
        groups.setdefault(found[segment_id]["names"]["en"], []).append(segment_id)
    return [group for group in groups.values() if len(group) > 1]
