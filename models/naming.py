"""Names segments: archetypes are rules on figures compared with the shop's, and every name is unique.

A name depends on figures only, never on the number of a cluster. Renumbering the clusters therefore changes no name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from features.categories import OTHER, OTHER_PREFIX
from models.disclosure import SUBGROUP_FIGURES
from models.lifts import Interest

LANGUAGES = ("en", "uk", "ru", "sq")
NAME_TEMPLATES: Mapping[str, tuple[str, str, str, str]] = {
    "interested": ("Interested in {}", "Цікавляться: {}", "Интересуются: {}", "Të interesuar për: {}"),
    "frequent": ("Frequent visitors", "Часті відвідувачі", "Частые посетители", "Vizitorë të shpeshtë"),
    "usual": ("Usual visitors", "Звичайні відвідувачі", "Обычные посетители", "Vizitorë të zakonshëm"),
    "rare": ("Rare visitors", "Нечасті відвідувачі", "Редкие посетители", "Vizitorë të rrallë"),
    "silent": ("Not seen for a while", "Давно не заходили", "Давно не заходили", "Prej kohësh pa vizitë"),
    "mixed": ("Mixed customers", "Різні клієнти", "Разные клиенты", "Klientë të përzier"),
    "rest": ("other {}", "{} (інше)", "{} (прочее)", "{} (të tjera)"),
    "other": ("(other)", "(інше)", "(прочее)", "(të tjera)"),
    "noise": ("In between", "Поза групами", "Вне групп", "Jashtë grupeve"),
    "broad": ("Broad interests", "Широкі інтереси", "Широкие интересы", "Interesa të gjera"),
    "unknown": ("Interests not known", "Інтереси невідомі", "Интересы неизвестны", "Interesa të panjohura"),
}

SUBGROUP_SHARE = {figure: share for share, figures in SUBGROUP_FIGURES.items() for figure in figures}
"""Figure that describes a subgroup, such as buyers -> the share of customers in that subgroup."""
MAJORITY = 0.5
"""A trait of a subgroup names a segment only if at least this share of its customers is in the subgroup."""
SILENT_DAYS = 60.0
"""A segment without an archetype may be called silent from this many days since the last event."""


def matching_archetype(
    figures: Mapping[str, float],
    shop: Mapping[str, float],
    archetypes: Sequence[Mapping[str, Any]],
    *,
    members: pd.DataFrame,
    min_held_share: float,
) -> tuple[Mapping[str, Any] | None, list[dict[str, Any]]]:
    """The first archetype by priority whose conditions all hold, and its evidence.

    Parameters
    ----------
    members : DataFrame, n customers x figures
        `models.segment_metrics.member_figures` of the segment. Conditions on these figures must hold for the segment.
        At least ``min_held_share`` of its customers must meet all of them individually.
    """
    for archetype in sorted(archetypes, key=lambda archetype: (archetype["priority"], archetype["id"])):
        conditions: Mapping[str, Mapping[str, float | None]] = archetype["when"]
        evidence = evidence_for(conditions, figures, shop, members=members, min_held_share=min_held_share)
        if evidence is not None:
            return archetype, evidence
    return None, []


def evidence_for(
    conditions: Mapping[str, Mapping[str, float | None]],
    figures: Mapping[str, float],
    shop: Mapping[str, float],
    *,
    members: pd.DataFrame,
    min_held_share: float,
) -> list[dict[str, Any]] | None:
    """The figures that support a name; None if a condition fails, or if too few customers meet all conditions."""
    evidence = []
    meets_all = np.ones(len(members), dtype=np.bool_)
    for name, bounds in conditions.items():
        own_value, shop_value = figures.get(name, np.nan), shop.get(name, np.nan)
        if not within(own_value, shop_value, bounds).all():
            return None
        is_met = meets_condition(members, name, shop_value, bounds)
        share = None if is_met is None else float(is_met.mean())
        meets_all &= True if is_met is None else is_met
        # A figure that is unknown for the segment or the shop is no evidence.
        if not np.isnan([own_value, shop_value]).any():
            evidence.append(evidence_item(name, figures, shop, bounds, held_share=share))
    return None if len(members) and meets_all.mean() < min_held_share else evidence


def meets_condition(
    members: pd.DataFrame, figure: str, shop: float, bounds: Mapping[str, float | None]
) -> NDArray[np.bool_] | None:
    """Which customers meet a condition; None for a share of customers, without bounds, and without customers.

    A customer whose figure is unknown, such as days since the last order without any order, does not meet it.
    """
    if figure not in members or not len(members) or all(limit is None for limit in bounds.values()):
        return None
    return within(members[figure].to_numpy(np.float64), shop, bounds)


def within(values: ArrayLike, shop: float, bounds: Mapping[str, float | None]) -> NDArray[np.bool_]:
    """Which figures are within the bounds; an unknown figure is not.

    A figure of at least ``enough`` always is: if the shop's own figure is high, no segment can be far above it.
    """
    own_values = np.asarray(values, dtype=np.float64)
    ratio = own_values / shop if shop else np.full_like(own_values, np.nan)
    is_within = np.ones(own_values.shape, dtype=np.bool_)
    for bound, limit in bounds.items():
        if limit is not None and bound != "enough":
            compared = ratio if bound.endswith("_ratio") else own_values
            is_within &= compared >= limit if bound.startswith("min") else compared <= limit
    enough = bounds.get("enough")
    return is_within if enough is None else is_within | (own_values >= enough)


def evidence_item(
    name: str,
    own: Mapping[str, float],
    shop: Mapping[str, float],
    bounds: Mapping[str, float | None],
    *,
    held_share: float | None = None,
) -> dict[str, Any]:
    """A figure as evidence: the segment's value, the shop's, the bounds, and the share of customers within them."""
    return {
        "figure": name,
        "value": float(own[name]),
        "shop": float(shop[name]),
        "condition": {bound: limit for bound, limit in bounds.items() if limit is not None},
        **({} if held_share is None else {"held_share": held_share}),
    }


def name_segments(
    figures: pd.DataFrame,
    interests: Mapping[str, Sequence[Interest]],
    archetypes: Sequence[Mapping[str, Any]],
    *,
    traits: Sequence[Mapping[str, Any]],
    min_contrast: float,
    min_gap: float,
    min_share_gap: float,
    members: pd.DataFrame,
    min_held_share: float,
    unstable: Collection[str] = (),
) -> dict[str, dict[str, Any]]:
    """A unique name in each language for every segment, its archetype, playbook, what to avoid, and the evidence.

    A condition on a mean must also hold for most customers of the segment. If several segments get the same name, the
    name adds their distinctive interest. If there is none, it adds the trait on which one of them leads all the others.
    Segments still without a trait are then compared among themselves; a trait counts only if no other segment of the
    name clearly exceeds it. As a last resort, the name gets a number. All that a name states is in its evidence.

    Parameters
    ----------
    figures : DataFrame
        `segment_figures` of the segments to name, and of "shop".
    interests : mapping
        segment_id -> `top_interests`.
    traits : sequence of mapping
        figure, and the words ``above``, ``below`` and, for the middle one of three, ``between`` (or None) in each
        language. The first trait that distinguishes a segment is taken.
    min_contrast, min_gap, min_share_gap : float
        The larger figure must be ``min_contrast`` times the smaller, and exceed it by ``min_gap`` times the shop's.
        Shares must also differ by ``min_share_gap``.
    members : DataFrame, n customers x figures
        `models.segment_metrics.member_figures` of all customers in the segments, by segment_id.
    min_held_share : float
        At least this share of the segment's customers must individually meet a condition on a mean.
    unstable : collection of str
        segment_ids that rarely reappear in resamples. They get no archetype and no playbook, and a name for their
        activity only.
    """
    shop = _figures_of(figures, "shop")
    groups = {segment_id: members[members.index == segment_id] for segment_id in map(str, figures.index.drop("shop"))}
    named = {
        segment_id: _first_name(
            _figures_of(figures, segment_id),
            shop,
            [] if segment_id in unstable else interests[segment_id],
            [] if segment_id in unstable else archetypes,
            members=group,
            min_contrast=min_contrast,
            min_held_share=min_held_share,
        )
        for segment_id, group in groups.items()
    }
    if "noise" in named:
        named["noise"].update(archetype=None, names=in_languages("noise"), playbook={}, avoid={})
    _distinguish_by_interest(named, interests)
    _distinguish_by_trait(named, figures, groups, traits, min_contrast, min_gap, min_share_gap, min_held_share)
    _distinguish_by_number(named, figures)
    return named


def _figures_of(figures: pd.DataFrame, segment_id: str) -> dict[str, float]:
    return {str(name): float(value) for name, value in figures.T[segment_id].to_dict().items()}


def _first_name(
    own: Mapping[str, float],
    shop: Mapping[str, float],
    interests: Sequence[Interest],
    archetypes: Sequence[Mapping[str, Any]],
    *,
    members: pd.DataFrame,
    min_contrast: float,
    min_held_share: float,
) -> dict[str, Any]:
    """The name of the archetype; without one, of the top interest; without that, of what most customers do."""
    archetype, evidence = matching_archetype(own, shop, archetypes, members=members, min_held_share=min_held_share)
    if archetype:
        texts = {"names": archetype["name"], "playbook": archetype["playbook"], "avoid": archetype["avoid"]}
        copies = {key: dict(text) for key, text in texts.items()}
        return {"archetype": archetype["id"], **copies, "evidence": evidence}
    if interests:
        names = in_languages("interested", category_in_languages(interests[0].label))
        evidence = [_interest_evidence(interests[0])]
    else:
        word, evidence = _activity_word(own, shop, members, min_contrast, min_held_share)
        names = in_languages(word)
    return {"archetype": None, "names": names, "playbook": {}, "avoid": {}, "evidence": evidence}


def _activity_word(
    own: Mapping[str, float],
    shop: Mapping[str, float],
    members: pd.DataFrame,
    min_contrast: float,
    min_held_share: float,
) -> tuple[str, list[dict[str, Any]]]:
    """The word for what most customers of a segment do, and its evidence; mixed, if no word fits most of them."""
    visits = "visits_per_customer"
    candidates: dict[str, tuple[str, dict[str, float | None]]] = {
        "silent": ("days_since_last_event", {"min": SILENT_DAYS, "min_ratio": min_contrast}),
        "frequent": (visits, {"min_ratio": min_contrast}),
        "rare": (visits, {"max_ratio": 1.0 / min_contrast}),
        "usual": (visits, {"min_ratio": 1.0 / min_contrast, "max_ratio": min_contrast}),
    }
    for word, (figure, bounds) in candidates.items():
        evidence = evidence_for({figure: bounds}, own, shop, members=members, min_held_share=min_held_share)
        if evidence is not None:
            return word, evidence
    return "mixed", [evidence_item(visits, own, shop, {})]


def _interest_evidence(interest: Interest) -> dict[str, Any]:
    return {
        "figure": f"interest: {interest.label}",
        "value": interest.share,
        "shop": interest.share / interest.lift,
        "customer_count": interest.customer_count,
        "condition": {},
    }


def in_languages(word: str, text: str | Mapping[str, str] = "") -> dict[str, str]:
    """A name from `NAME_TEMPLATES` in every language, filled with ``text`` (one for all languages, or one each)."""
    return {
        language: NAME_TEMPLATES[word][index].format(text if isinstance(text, str) else text[language])
        for index, language in enumerate(LANGUAGES)
    }


def category_in_languages(label: str) -> dict[str, str]:
    """A label of `models.lifts.category_labels` in every language; only the remainder of a category is translated.

    Examples
    --------
    >>> category_in_languages("Pets › other Pets")["uk"], category_in_languages("Cats")["uk"]
    ('Pets › Pets (інше)', 'Cats')
    """
    if label == OTHER:
        return in_languages("other")
    match = re.fullmatch(rf"(.* [›>] )?{OTHER_PREFIX}(.+)", label)
    if not match:
        return dict.fromkeys(LANGUAGES, label)
    parent, category = match.groups("")
    return {language: parent + name for language, name in in_languages("rest", category).items()}


def _distinguish_by_interest(named: dict[str, dict[str, Any]], interests: Mapping[str, Sequence[Interest]]) -> None:
    for group in _same_name_groups(named):
        for segment_id in group:
            taken = {interest.label for other in group if other != segment_id for interest in interests[other][:1]}
            names = named[segment_id]["names"]
            own = next((interest for interest in interests[segment_id] if interest.label not in taken), None)
            if own is not None and own.label not in names["en"]:
                labels = category_in_languages(own.label)
                named[segment_id]["names"] = {
                    language: f"{names[language]} · {labels[language]}" for language in LANGUAGES
                }
                named[segment_id]["evidence"].append(_interest_evidence(own))


def _distinguish_by_trait(
    named: dict[str, dict[str, Any]],
    figures: pd.DataFrame,
    members: Mapping[str, pd.DataFrame],
    traits: Sequence[Mapping[str, Any]],
    min_contrast: float,
    min_gap: float,
    min_share_gap: float,
    min_held_share: float,
) -> None:
    """Give each segment the first word that distinguishes it from all segments of the same name (its peers).

    Segments that lead in nothing get the first word that distinguishes them from each other, unless another peer
    clearly exceeds them in that direction. A word about a mean must also fit most customers: at least
    ``min_held_share`` of them are beyond the median customer of each peer.
    """
    shop = _figures_of(figures, "shop")
    for group in _same_name_groups(named):
        unnamed = set(group)
        for compared, trait in product((group, unnamed), traits):
            figure = trait["figure"]
            values = figures.loc[group, figure].astype(float)
            subgroup = SUBGROUP_SHARE.get(figure)
            if (
                len(compared) < 2
                or values.isna().any()
                or (subgroup and (figures.loc[group, subgroup] < MAJORITY).any())
            ):
                continue
            least = max(min_gap * shop[figure], min_share_gap if figure.endswith("_share") else 0.0)
            words = _trait_words(values, sorted(compared), min_contrast=min_contrast, least=least)
            compared_values = values.loc[sorted(compared)]
            for segment_id, word in words.items():
                if segment_id not in unnamed or not trait[word]:
                    continue
                peers = compared_values.drop(segment_id)
                ahead = _ahead_share(members, segment_id, list(peers.index), figure, word)
                if ahead is not None and ahead < min_held_share:
                    continue
                unnamed.remove(segment_id)
                segment = named[segment_id]
                segment["names"] = {
                    language: f"{name}, {trait[word][language]}" for language, name in segment["names"].items()
                }
                item = evidence_item(figure, _figures_of(figures, segment_id), shop, {})
                nearest = float(peers.loc[(peers - compared_values[segment_id]).abs().idxmin()])
                _add_evidence(segment, item, nearest_peer=nearest, ahead_share=ahead)


def _add_evidence(segment: dict[str, Any], item: dict[str, Any], **details: float | None) -> None:
    """Add a trait's figure to the evidence; if the figure is there already, add only the details."""
    by_figure = {known["figure"]: known for known in segment["evidence"]}
    by_figure.setdefault(item["figure"], item).update(
        {key: value for key, value in details.items() if value is not None}
    )
    segment["evidence"] = list(by_figure.values())


def _ahead_share(
    members: Mapping[str, pd.DataFrame], segment_id: str, peers: Sequence[str], figure: str, word: str
) -> float | None:
    """Share of a segment's customers beyond the median customer of every peer; None for shares of customers."""
    own = members[segment_id]
    if figure not in own or own.empty:
        return None
    values = own[figure].to_numpy(np.float64)
    medians = [float(members[peer][figure].median()) for peer in peers]
    # Strictly beyond: many customers may equal the median, such as those without an order.
    above, below = values > max(medians), values < min(medians)
    ahead = {"above": above, "below": below, "between": (values > min(medians)) & (values < max(medians))}
    return float(ahead[word].mean())


def _trait_words(values: pd.Series, compared: list[str], *, min_contrast: float, least: float) -> dict[str, str]:
    """segment_id -> above, below or (of three) between, for figures clearly different from the others in ``compared``.

    values (n,) by segment_id. Two figures are clearly different when the higher is ``min_contrast`` times the lower
    and exceeds it by ``least``. A segment is not above (below) if any other in ``values`` is clearly higher (lower).
    """

    def is_clear(low: float, high: float) -> bool:
        return bool(high > low and high >= min_contrast * low and high - low >= least)

    order = values.loc[compared].sort_values(kind="stable")
    gaps = [is_clear(low, high) for low, high in pairwise(order)]
    candidates = {
        -1: ("above", gaps[-1] and not is_clear(order.iloc[-1], values.max())),
        0: ("below", gaps[0] and not is_clear(values.min(), order.iloc[0])),
    }
    if len(values) == len(order) == 3:
        candidates[1] = ("between", all(gaps))
    return {str(order.index[position]): word for position, (word, holds) in candidates.items() if holds}


def _distinguish_by_number(named: dict[str, dict[str, Any]], figures: pd.DataFrame) -> None:
    """The largest segment keeps a shared name; the others get 2, 3, ... by size, whatever their cluster number."""
    for group in _same_name_groups(named):
        ordered = figures.loc[group].fillna(-1.0).sort_values([*figures.columns], kind="stable")
        by_size = ordered.sort_values("customer_count", ascending=False, kind="stable").index
        for number, segment_id in enumerate(by_size[1:], start=2):
            names = named[segment_id]["names"]
            named[segment_id]["names"] = {language: f"{name} {number}" for language, name in names.items()}


def _same_name_groups(named: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for segment_id in sorted(named):
        groups.setdefault(named[segment_id]["names"]["en"], []).append(segment_id)
    return [group for group in groups.values() if len(group) > 1]
