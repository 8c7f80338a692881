"""Names of segments: figures beside the shop's, archetypes as rules over them, and a name that is nobody else's.

A name rests on figures only, never on the number of a cluster, so that renumbering changes no name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from features.categories import OTHER, REST
from models.disclosure import RESTS_ON
from models.lifts import Interest

LANGUAGES = ("en", "uk", "ru", "sq")
WORDS: Mapping[str, tuple[str, str, str, str]] = {
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

SHARE_OF = {figure: share for share, figures in RESTS_ON.items() for figure in figures}
"""Figure of some customers alone -> the share of customers that these are."""
MOST = 0.5
"""So large a share of a segment must be those whom a trait is of: what a few buyers do is no word for all."""
SILENT_DAYS = 60.0
"""Days since the last event, from which a segment without an archetype may be called silent."""


def matching_archetype(
    figures: Mapping[str, float],
    shop: Mapping[str, float],
    archetypes: Sequence[Mapping[str, Any]],
    *,
    members: pd.DataFrame,
    min_held_share: float,
) -> tuple[Mapping[str, Any] | None, list[dict[str, Any]]]:
    """The first archetype by priority whose conditions all hold, and the figures that carry it.

    Parameters
    ----------
    members : DataFrame, n customers x figures
        `models.segment_metrics.member_figures` of the segment. Conditions on these figures must hold for the segment,
        and all together for at least ``min_held_share`` of its customers one by one.
    """
    for archetype in sorted(archetypes, key=lambda one: (one["priority"], one["id"])):
        conditions: Mapping[str, Mapping[str, float | None]] = archetype["when"]
        evidence = evidence_of(conditions, figures, shop, members=members, min_held_share=min_held_share)
        if evidence is not None:
            return archetype, evidence
    return None, []


def evidence_of(
    conditions: Mapping[str, Mapping[str, float | None]],
    figures: Mapping[str, float],
    shop: Mapping[str, float],
    *,
    members: pd.DataFrame,
    min_held_share: float,
) -> list[dict[str, Any]] | None:
    """The figures that carry a name; None where a condition does not hold, or not all of them together for most."""
    evidence = []
    together = np.ones(len(members), dtype=np.bool_)
    for name, bounds in conditions.items():
        own, of_shop = figures.get(name, np.nan), shop.get(name, np.nan)
        if not within(own, of_shop, bounds).all():
            return None
        held = held_by(members, name, of_shop, bounds)
        share = None if held is None else float(held.mean())
        together &= True if held is None else held
        # What cannot be said, of these or of the shop, is no evidence.
        if not np.isnan([own, of_shop]).any():
            evidence.append(proof(name, figures, shop, bounds, held_share=share))
    return None if len(members) and together.mean() < min_held_share else evidence


def held_by(
    members: pd.DataFrame, figure: str, shop: float, bounds: Mapping[str, float | None]
) -> NDArray[np.bool_] | None:
    """For which customers a condition holds; None of a share of customers, without bounds, and without customers.

    It does not hold for those of whom the figure cannot be said, such as the days since an order of those without one.
    """
    if figure not in members or not len(members) or all(limit is None for limit in bounds.values()):
        return None
    return within(members[figure].to_numpy(np.float64), shop, bounds)


def within(values: ArrayLike, shop: float, bounds: Mapping[str, float | None]) -> NDArray[np.bool_]:
    """Which figures are within the bounds; one that cannot be said is in none.

    From ``enough`` on it is, whatever the others: beside a shop that has much of it, nobody has half as much again.
    """
    own = np.asarray(values, dtype=np.float64)
    ratio = own / shop if shop else np.full_like(own, np.nan)
    held = np.ones(own.shape, dtype=np.bool_)
    for bound, limit in bounds.items():
        if limit is not None and bound != "enough":
            compared = ratio if bound.endswith("_ratio") else own
            held &= compared >= limit if bound.startswith("min") else compared <= limit
    enough = bounds.get("enough")
    return held if enough is None else held | (own >= enough)


def proof(
    name: str,
    own: Mapping[str, float],
    shop: Mapping[str, float],
    bounds: Mapping[str, float | None],
    *,
    held_share: float | None = None,
) -> dict[str, Any]:
    """A figure as evidence: the segment's, the shop's, its bounds, and the share of customers within them."""
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
    """A unique name in each language for every segment, its archetype, what to do and to avoid, and the evidence.

    What a name says of a mean holds for most customers of the segment, too. Segments with one name are told apart by an
    interest, else by a trait in which one of them is ahead of all its like, or of those whom no trait told and behind
    none of the others, at last by a number. What a name says is in its evidence.

    Parameters
    ----------
    figures : DataFrame
        `segment_figures` of the segments to name, and "shop".
    interests : mapping
        segment_id -> `top_interests`.
    traits : sequence of mapping
        figure, and the words ``above``, ``below`` and, for the middle one of three, ``between`` (or None) in each
        language; the first that tells apart is taken.
    min_contrast, min_gap, min_share_gap : float
        The larger figure must be ``min_contrast`` times the smaller, and apart by ``min_gap`` times the shop's; shares
        by ``min_share_gap`` too.
    members : DataFrame, n customers x figures
        `models.segment_metrics.member_figures` of all customers in the segments, by segment_id.
    min_held_share : float
        What a name says of a mean must hold for so large a share of the segment's customers one by one.
    unstable : collection of str
        segment_ids that rarely come back: no archetype, no playbook, and a name that says how much they do, no more.
    """
    shop = _figures_of(figures, "shop")
    groups = {segment_id: members[members.index == segment_id] for segment_id in map(str, figures.index.drop("shop"))}
    found = {
        segment_id: _first_name(
            _figures_of(figures, segment_id),
            shop,
            [] if segment_id in unstable else interests[segment_id],
            [] if segment_id in unstable else archetypes,
            members=own,
            min_contrast=min_contrast,
            min_held_share=min_held_share,
        )
        for segment_id, own in groups.items()
    }
    if "noise" in found:
        found["noise"].update(archetype=None, names=in_languages("noise"), playbook={}, avoid={})
    _tell_apart_by_interest(found, interests)
    _tell_apart_by_trait(found, figures, groups, traits, min_contrast, min_gap, min_share_gap, min_held_share)
    _number(found, figures)
    return found


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
    """The name of the archetype; without one, of the first interest; without that, what most of these customers do."""
    archetype, evidence = matching_archetype(own, shop, archetypes, members=members, min_held_share=min_held_share)
    if archetype:
        texts = {"names": archetype["name"], "playbook": archetype["playbook"], "avoid": archetype["avoid"]}
        told = {name: dict(text) for name, text in texts.items()}
        return {"archetype": archetype["id"], **told, "evidence": evidence}
    if interests:
        names = in_languages("interested", category_in_languages(interests[0].label))
        evidence = [_interest_evidence(interests[0])]
    else:
        word, evidence = _plain_word(own, shop, members, min_contrast, min_held_share)
        names = in_languages(word)
    return {"archetype": None, "names": names, "playbook": {}, "avoid": {}, "evidence": evidence}


def _plain_word(
    own: Mapping[str, float],
    shop: Mapping[str, float],
    members: pd.DataFrame,
    min_contrast: float,
    min_held_share: float,
) -> tuple[str, list[dict[str, Any]]]:
    """The word for what most of a segment do, and its evidence; mixed, where nothing is true of most."""
    visits = "visits_per_customer"
    ways: dict[str, tuple[str, dict[str, float | None]]] = {
        "silent": ("days_since_last_event", {"min": SILENT_DAYS, "min_ratio": min_contrast}),
        "frequent": (visits, {"min_ratio": min_contrast}),
        "rare": (visits, {"max_ratio": 1.0 / min_contrast}),
        "usual": (visits, {"min_ratio": 1.0 / min_contrast, "max_ratio": min_contrast}),
    }
    for word, (figure, bounds) in ways.items():
        evidence = evidence_of({figure: bounds}, own, shop, members=members, min_held_share=min_held_share)
        if evidence is not None:
            return word, evidence
    return "mixed", [proof(visits, own, shop, {})]


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


def category_in_languages(label: str) -> dict[str, str]:
    """A category as `models.lifts.category_labels` calls it: what is left of one in words, all others as they stand.

    Examples
    --------
    >>> category_in_languages("Pets › other Pets")["uk"], category_in_languages("Cats")["uk"]
    ('Pets › Pets (інше)', 'Cats')
    """
    if label == OTHER:
        return in_languages("other")
    found = re.fullmatch(rf"(.* [›>] )?{REST}(.+)", label)
    if not found:
        return dict.fromkeys(LANGUAGES, label)
    above, category = found.groups("")
    return {language: above + name for language, name in in_languages("rest", category).items()}


def _tell_apart_by_interest(found: dict[str, dict[str, Any]], interests: Mapping[str, Sequence[Interest]]) -> None:
    for group in _alike(found):
        for segment_id in group:
            others = {one.label for other in group if other != segment_id for one in interests[other][:1]}
            names = found[segment_id]["names"]
            own = next((one for one in interests[segment_id] if one.label not in others), None)
            if own is not None and own.label not in names["en"]:
                told = category_in_languages(own.label)
                found[segment_id]["names"] = {
                    language: f"{names[language]} · {told[language]}" for language in LANGUAGES
                }
                found[segment_id]["evidence"].append(_interest_evidence(own))


def _tell_apart_by_trait(
    found: dict[str, dict[str, Any]],
    figures: pd.DataFrame,
    members: Mapping[str, pd.DataFrame],
    traits: Sequence[Mapping[str, Any]],
    min_contrast: float,
    min_gap: float,
    min_share_gap: float,
    min_held_share: float,
) -> None:
    """Each segment gets the first word that holds for it against all its like; so no two get the same.

    Those who lead in nothing get the first that holds among themselves, if none of their like is further that way. A
    word on a mean must hold for most of the customers too: ``min_held_share`` of them lie beyond the median customer
    of each of the others.
    """
    shop = _figures_of(figures, "shop")
    for group in _alike(found):
        untold = set(group)
        for among, trait in product((group, untold), traits):
            figure = trait["figure"]
            values = figures.loc[group, figure].astype(float)
            whole = SHARE_OF.get(figure)
            if len(among) < 2 or values.isna().any() or (whole and (figures.loc[group, whole] < MOST).any()):
                continue
            least = max(min_gap * shop[figure], min_share_gap if figure.endswith("_share") else 0.0)
            words = _words_that_hold(values, sorted(among), min_contrast=min_contrast, least=least)
            like = values.loc[sorted(among)]
            for segment_id, word in words.items():
                if segment_id not in untold or not trait[word]:
                    continue
                others = like.drop(segment_id)
                ahead = _ahead_share(members, segment_id, list(others.index), figure, word)
                if ahead is not None and ahead < min_held_share:
                    continue
                untold.remove(segment_id)
                one = found[segment_id]
                one["names"] = {language: f"{name}, {trait[word][language]}" for language, name in one["names"].items()}
                added = proof(figure, _figures_of(figures, segment_id), shop, {})
                nearest = float(others.loc[(others - like[segment_id]).abs().idxmin()])
                _add_evidence(one, added, nearest_like=nearest, ahead_share=ahead)


def _add_evidence(one: dict[str, Any], added: dict[str, Any], **more: float | None) -> None:
    """Put a trait's figure to the evidence, or, where it stands there already, what more is known of it."""
    by_figure = {item["figure"]: item for item in one["evidence"]}
    by_figure.setdefault(added["figure"], added).update(
        {key: value for key, value in more.items() if value is not None}
    )
    one["evidence"] = list(by_figure.values())


def _ahead_share(
    members: Mapping[str, pd.DataFrame], segment_id: str, others: Sequence[str], figure: str, word: str
) -> float | None:
    """The share of a segment's customers who lie beyond the median customer of each of the others; None of shares."""
    own = members[segment_id]
    if figure not in own or own.empty:
        return None
    values = own[figure].to_numpy(np.float64)
    medians = [float(members[other][figure].median()) for other in others]
    # Many of them may be as the median is, such as those without an order.
    above, below = values > max(medians), values < min(medians)
    ahead = {"above": above, "below": below, "between": (values > min(medians)) & (values < max(medians))}
    return float(ahead[word].mean())


def _words_that_hold(values: pd.Series, among: list[str], *, min_contrast: float, least: float) -> dict[str, str]:
    """segment_id -> above, below or, of three, between, for those whose figure is apart from that of ``among``.

    values (n,) by segment_id. Apart: the higher is ``min_contrast`` times the lower, and ``least`` more. Nobody is
    above (below) from whose figure that of one of the others is apart that way.
    """

    def is_apart(low: float, high: float) -> bool:
        return bool(high > low and high >= min_contrast * low and high - low >= least)

    order = values.loc[among].sort_values(kind="stable")
    apart = [is_apart(low, high) for low, high in pairwise(order)]
    held = {
        -1: ("above", apart[-1] and not is_apart(order.iloc[-1], values.max())),
        0: ("below", apart[0] and not is_apart(values.min(), order.iloc[0])),
    }
    if len(values) == len(order) == 3:
        held[1] = ("between", all(apart))
    return {str(order.index[place]): word for place, (word, holds) in held.items() if holds}


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
