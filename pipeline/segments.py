"""Profiles -> clusters -> segments: identities, names, figures; and the segmentation that is saved."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ibis
import numpy as np
import pandas as pd

from features.categories import OTHER
from features.events import ObservationWindow
from features.interests import SHARE_PREFIX, voices
from models import naming
from models.explanations import Rule, is_share, segment_rules
from models.moves import moves_as_changes
from models.scorer import NOISE
from models.seasons import seasonal_lean
from models.segmentation import FittedClusters, Segmentation, fit_segmentation
from pipeline.errors import UserError
from pipeline.params import Params
from pipeline.profiles import Profiles
from pipeline.report.wording import wording

SIZES = ("customer_count", "customer_share")
"""All that is said of a group too small for more."""
RESTS_ON = {
    "buyer_share": (
        *("orders_per_buyer", "average_order_value", "return_rate", "discount_share", "price_level"),
        *("days_since_last_purchase", "views_per_order"),
    ),
    "cart_user_share": ("abandoned_cart_share",),
}
"""Share of customers -> figures that say something of these alone."""
SHOWN_OF_STANDINGS = ("events_per_customer", "days_since_last_event")
"""The figures that show how little a group by rule has done."""


@dataclass(frozen=True)
class Segments:
    """A named segmentation of one shop.

    Attributes
    ----------
    table : list of dict
        One segment each, in order of spend; the contract of design: segment_id, name, names, archetype, ...
    shop : dict
        The figures of all customers who were clustered.
    lifts : DataFrame
        segment_id x category, those first in which segments differ most. Null: too few customers show it.
    rules_fidelity : float
        Share of customers whom all rules together put where they are.
    """

    table: list[dict[str, Any]]
    shop: dict[str, float]
    lifts: pd.DataFrame
    labels: dict[str, str]
    segmentation: Segmentation
    segment_ids: np.ndarray
    rules_fidelity: float

    def frame(self) -> pd.DataFrame:
        """The table, one row a segment."""
        return pd.DataFrame(self.table)


def cluster(profiles: Profiles, params: Params, **changes: Any) -> FittedClusters:
    """Cluster the profiles with the settings of ``params``; ``changes`` go before them.

    Raises
    ------
    UserError
        There are no customers, or none with enough events.
    """
    if profiles.table.empty:
        raise UserError(f"expected customers before as_of {params.as_of:%Y-%m-%d %H:%M}, found none. Check as_of.")
    settings = params.clustering
    given = {
        "algorithm": settings.algorithm,
        "n_segments": settings.n_segments,
        "min_events": settings.min_events,
        "block_weights": settings.block_weights.model_dump(),
        "kmeans": settings.kmeans.model_dump(),
        "hdbscan": settings.hdbscan.model_dump(),
        "quality": params.quality.model_dump(),
        "seed": params.seed,
    }
    if {**given, **changes}["algorithm"] == "kmeans" and {**given, **changes}["n_segments"] == "auto":
        raise UserError("clustering.n_segments: expected a number, got auto, which `kindred train` alone chooses for.")
    try:
        return fit_segmentation(profiles.table, profiles.shop.spec.columns(), **{**given, **changes})
    except ValueError as error:
        raise UserError(str(error)) from None


def seasonal_leaning(profiles: Profiles, fitted: FittedClusters, params: Params) -> pd.DataFrame | None:
    """Segment x category: how the shop leaned while the segment was there; needs the open database."""
    if profiles.said is None:
        return None
    profile = profiles.table
    customers = pd.DataFrame(
        {
            "customer_id": np.arange(len(profile)),
            "segment_id": segment_ids(profile, fitted),
            "share_per_evidence": 1.0 / (profile.evidence.fillna(0.0) + params.interests.kappa),
        }
    )
    window = ObservationWindow(params.as_of, params.history_days)
    said = voices(profiles.said, ibis.memtable(customers), window=window, period_days=params.naming.season_days)
    categories = profiles.shop.spec.cut.categories
    lean = seasonal_lean(
        said.to_pyarrow().to_pandas(), n_categories=len(categories), thin_voices=float(params.naming.min_group)
    )
    return lean.set_axis(list(categories), axis=1)


def describe_segments(
    profiles: Profiles,
    fitted: FittedClusters,
    params: Params,
    *,
    leaning: pd.DataFrame | None,
    known_names: Mapping[str, Mapping[str, Any]] | None = None,
    given_names: Mapping[str, str] | None = None,
) -> Segments:
    """Name every cluster and every standing, and gather what is to be said of them.

    Parameters
    ----------
    leaning : DataFrame or None
        `seasonal_leaning`; None: lifts are beside the whole window.
    known_names : mapping, optional
        segment_id -> the champion's row of ``table``, whose name a segment of the same kind keeps.
    given_names : mapping, optional
        segment_id -> the name that was given by hand, in all languages.
    """
    profile = profiles.table
    ids = segment_ids(profile, fitted)
    cut = profiles.shop.spec.cut
    labels = naming.category_labels(cut.categories)
    settings = params.naming
    sizes = pd.Series(ids).value_counts()
    told = _interests(
        profile,
        ids,
        list(cut.categories),
        leaning,
        min_lift=settings.min_lift,
        lift_errors=settings.lift_errors,
        min_group=settings.min_group,
    )
    interests = {
        segment_id: naming.top_interests(
            pd.DataFrame({name: table.loc[segment_id] for name, table in told.items()}),
            min_lift=settings.min_lift,
            min_share=settings.min_interest_share,
            min_count=max(settings.min_group, settings.min_interest_customers * sizes[segment_id]),
            most=settings.top_categories,
            labels=labels,
        )
        for segment_id in map(str, told["share"].index)
    }
    everybody = naming.segment_figures(profile, ids)
    inside = ~pd.Series(ids).isin([one for one in sizes.index if one.startswith("standing-")]).to_numpy()
    # Where nobody was clustered, the shop is everybody.
    figures = naming.segment_figures(profile[inside], ids[inside]) if inside.any() else everybody.loc[["shop"]]
    named = naming.name_segments(
        figures,
        interests,
        [one.model_dump() for one in settings.archetypes],
        traits=[one.model_dump() for one in settings.traits],
        min_contrast=settings.min_contrast,
        min_gap=settings.min_gap,
        unstable=[one for one in map(str, sizes.index) if not _is_stable(_stability(one, fitted), params)],
    )
    given = given_names or {}
    _keep_names(named, known_names or {})
    _leave_names(named, given)
    rules, fidelity = segment_rules(
        profile[inside],
        ids[inside],
        profiles.shop.spec.columns(),
        **params.rules.model_dump(),
        min_customers=settings.min_group,
        seed=params.seed,
    )
    table = [
        _segment(
            segment_id, _plain(everybody.loc[segment_id]), named.get(segment_id), interests[segment_id], fitted, params
        )
        for segment_id in interests
    ]
    for one in table:
        # What is given by hand can be taken back: the name by figures stays beside it, and in the model.
        one["names_by_figures"] = one["names"]
        if by_hand := given.get(one["segment_id"]):
            one.update(name=by_hand, names=dict.fromkeys(one["names"], by_hand))
        one["rule"] = _rule(one, rules.get(one["segment_id"]), labels, _noise_policy(fitted), params)
    shop = _plain(figures.loc["shop"])
    for one in table:
        if one["is_standing"]:
            known = [name for name in SHOWN_OF_STANDINGS if name in one["figures"] and name in shop]
            one["evidence"] = [naming.proof(name, one["figures"], shop, {}) for name in known]
    table.sort(key=lambda one: (one["is_standing"], -one["spend_share"], -one["customer_count"], one["segment_id"]))
    _hide_spend_of_few(table, settings.min_group)
    return Segments(
        table=table,
        shop=shop,
        lifts=told["lift"].where(told["is_sure"]),
        labels=labels,
        segmentation=_segmentation(fitted, named, _moves(profile[inside], params), params),
        segment_ids=ids,
        rules_fidelity=fidelity,
    )


def _keep_names(named: dict[str, dict[str, Any]], known: Mapping[str, Mapping[str, Any]]) -> None:
    """Give segments that are still of one kind the names they had, but those that another one is called now."""
    kept = {
        segment_id: {**one, "names": dict(known[segment_id]["names_by_figures"])}
        for segment_id, one in named.items()
        if segment_id in known and _kind(known[segment_id]) == _kind(one)
    }
    while True:
        called = {segment_id: json.dumps(one["names"], sort_keys=True) for segment_id, one in {**named, **kept}.items()}
        times = Counter(called.values())
        clashing = [segment_id for segment_id in kept if times[called[segment_id]] > 1]
        if not clashing:
            break
        for segment_id in clashing:
            del kept[segment_id]
    named.update(kept)


def _leave_names(named: dict[str, dict[str, Any]], given: Mapping[str, str]) -> None:
    """Number a segment whose name by figures is what another one is called by hand."""
    for segment_id, one in named.items():
        others = {name for other, name in given.items() if other != segment_id}
        one["names"] = {language: f"{name} 2" if name in others else name for language, name in one["names"].items()}


def _kind(segment: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a name says before it is told apart from its like: the archetype, else the figure that it rests on."""
    first = segment["evidence"][0] if segment["evidence"] and not segment["archetype"] else {}
    return segment["archetype"], first.get("figure"), tuple(first.get("condition", ()))


def _rule(
    segment: dict[str, Any],
    rule: Rule | None,
    labels: dict[str, str],
    noise_policy: str | None,
    params: Params,
) -> dict[str, Any] | None:
    """The rule as data and in words, and how well it holds; None of a small group, and where none tells it apart."""
    if segment["is_standing"]:
        stage = segment["segment_id"].removeprefix("standing-")
        told: dict[str, Any] = {
            **{"stage": stage, "min_events": params.clustering.min_events, "with_noise": noise_policy == "standing"},
            **{"precision": 1.0, "coverage": 1.0},
        }
    elif segment["is_small"] or rule is None or not rule.conditions or np.isnan(rule.precision):
        return None
    else:
        conditions = [
            {**vars(one), "is_share": is_share(one.column), "label": _label(one.column, labels)}
            for one in rule.conditions
        ]
        told = {"conditions": conditions, "precision": rule.precision, "coverage": rule.coverage}
    return {"text": wording(params.language).conditions(told), **told}


def _label(column: str, labels: dict[str, str]) -> str:
    name = column.removeprefix(SHARE_PREFIX)
    return labels.get(name, name)


def _hide_spend_of_few(table: list[dict[str, Any]], min_group: int) -> None:
    """Take out the spend share of small segments, and of the next smallest from which theirs could be reckoned."""
    by_size = sorted(table, key=lambda one: (one["customer_count"], one["segment_id"]))
    hidden = [one for one in by_size if one["is_small"]]
    rest = [one for one in by_size if not one["is_small"]]
    while hidden and rest and sum(one["customer_count"] for one in hidden) < min_group:
        hidden.append(rest.pop(0))
    for one in hidden:
        one["spend_share"] = None
        one["figures"].pop("spend_share", None)


def _interests(
    profile: pd.DataFrame,
    ids: np.ndarray,
    names: list[str],
    leaning: pd.DataFrame | None,
    *,
    min_lift: float,
    lift_errors: float,
    min_group: int,
) -> dict[str, pd.DataFrame]:
    """Segment x category: mean share, its lift beside all customers at the same times, and how sure it is.

    ``lift_low`` is the lift less ``lift_errors`` standard errors over the segment's customers; ``customer_count``
    says how many show a lift of ``min_lift``. A lift is sure that lies so far from 1 and, where it is above, that
    enough customers show. Categories come in the order of how much of their interest the segments differ in.
    """
    own = profile[[SHARE_PREFIX + name for name in names]].set_axis(names, axis=1)
    by_segment = own.groupby(ids, sort=True)
    shares = by_segment.mean()
    is_standing = shares.index.str.startswith("standing-")
    spread = shares[is_standing.all() | ~is_standing].agg(np.ptp).drop(OTHER, errors="ignore")
    order = spread.sort_values(ascending=False, kind="stable").index
    expected = pd.DataFrame(1.0, shares.index, shares.columns) * own.mean().where(own.mean() > 0)
    if leaning is not None:
        expected *= leaning.reindex(index=shares.index, columns=shares.columns).fillna(1.0)
    # Of one customer alone nothing is sure.
    error = lift_errors * by_segment.std().fillna(np.inf).div(np.sqrt(by_segment.size()), axis=0)
    counts = (own >= min_lift * own.mean()).groupby(ids, sort=True).sum()
    is_shown = (shares < min_lift * expected) | (counts >= min_group)
    found = {
        "share": shares,
        "lift": shares / expected,
        "lift_low": (shares - error) / expected,
        "customer_count": counts,
        "is_sure": ((shares - expected).abs() > error) & is_shown,
    }
    return {name: table[order] for name, table in found.items()}


def segment_ids(profile: pd.DataFrame, fitted: FittedClusters) -> np.ndarray:
    """The segment of each customer trained on: the cluster's, or that of the lifecycle stage."""
    ids = ("standing-" + profile["lifecycle_stage"].astype(str)).to_numpy(dtype=object, copy=True)
    given = fitted.labels != NOISE if _noise_policy(fitted) == "standing" else np.ones(len(fitted.labels), dtype=bool)
    rows = np.flatnonzero(fitted.is_clustered)[given]
    known, place = np.unique(fitted.labels[given], return_inverse=True)
    ids[rows] = np.array([fitted.segment_id(number) for number in known.tolist()], dtype=object)[place]
    return ids


def _noise_policy(fitted: FittedClusters) -> str | None:
    """keep, nearest or standing; None of an algorithm that knows no noise."""
    policy: str | None = fitted.clusters.model.get("noise")
    return policy


def _stability(segment_id: str, fitted: FittedClusters) -> float | None:
    """Mean Jaccard of a segment's cluster; None of a standing and of noise."""
    return {fitted.segment_id(cluster): value for cluster, value in fitted.stability.items()}.get(segment_id)


def _is_stable(stability: float | None, params: Params) -> bool:
    return stability is None or stability >= params.quality.min_stability


def _stability_word(stability: float | None, params: Params) -> str | None:
    bounds = params.quality
    if stability is None:
        return None
    if stability < bounds.good_stability:
        return "fairly stable" if stability >= bounds.min_stability else "unstable"
    return "very stable" if stability >= bounds.high_stability else "stable"


def _segment(
    segment_id: str,
    figures: dict[str, float],
    named: dict[str, Any] | None,
    interests: list[naming.Interest],
    fitted: FittedClusters,
    params: Params,
) -> dict[str, Any]:
    standing = params.naming.standing.get(segment_id.removeprefix("standing-"))
    if named is None:
        assert standing is not None
        named = {
            "archetype": None,
            "names": standing.name.model_dump(),
            "playbook": standing.playbook.model_dump(),
            "evidence": [],
        }
    came_back = _stability(segment_id, fitted)
    return {
        "segment_id": segment_id,
        "name": named["names"][params.language],
        "names": named["names"],
        "archetype": named["archetype"],
        "is_standing": segment_id.startswith("standing-"),
        "customer_count": int(figures["customer_count"]),
        "customer_share": figures["customer_share"],
        "spend_share": figures["spend_share"],
        "top_categories": [vars(interest) for interest in interests],
        "evidence": named["evidence"],
        "stability": came_back,
        "is_stable": _is_stable(came_back, params),
        "stability_word": _stability_word(came_back, params),
        "playbook": named["playbook"],
        "is_small": figures["customer_count"] < params.naming.min_group,
        "figures": _well_founded(figures, params.naming.min_group),
    }


def _well_founded(figures: dict[str, float], min_group: int) -> dict[str, float]:
    """The figures without those that rest on fewer than ``min_group`` customers."""
    if figures["customer_count"] < min_group:
        return {name: figures[name] for name in SIZES}
    few = [share for share in RESTS_ON if figures[share] * figures["customer_count"] < min_group]
    left_out = {name for share in few for name in RESTS_ON[share]}
    return {name: value for name, value in figures.items() if name not in left_out}


def _plain(figures: Any) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items() if not np.isnan(value)}


def _segmentation(
    fitted: FittedClusters, named: dict[str, dict[str, Any]], moves: list[dict[str, Any]], params: Params
) -> Segmentation:
    clusters = fitted.model_clusters
    has_noise = NOISE in fitted.labels or NOISE in fitted.clusters.model.get("labels", ())
    if has_noise and _noise_policy(fitted) != "nearest":
        clusters = [NOISE, *clusters]
    return Segmentation(
        {
            "scaling": fitted.scaling,
            "clusters": fitted.clusters.model,
            "segments": [
                {"cluster_id": int(cluster), **_model_segment(int(cluster), fitted, named, params)}
                for cluster in clusters
            ],
            "standing": {
                stage: {"segment_id": f"standing-{stage}", "name": getattr(one.name, params.language)}
                for stage, one in params.naming.standing.items()
            },
            "min_events": params.clustering.min_events,
            "border_margin": params.clustering.border_margin,
            "moves": moves,
        }
    )


def _model_segment(
    cluster: int, fitted: FittedClusters, named: dict[str, dict[str, Any]], params: Params
) -> dict[str, Any]:
    """What the model says of a cluster; nulls where its customers get the segment of their lifecycle stage."""
    if cluster == NOISE and _noise_policy(fitted) == "standing":
        return {"segment_id": None, "name": None, "is_stable": True}
    segment_id = fitted.segment_id(cluster)
    names = named[segment_id]["names"] if segment_id in named else naming.in_languages("noise")
    return {
        "segment_id": segment_id,
        "name": names[params.language],
        "is_stable": _is_stable(fitted.stability.get(cluster), params),
    }


def _moves(clustered: pd.DataFrame, params: Params) -> list[dict[str, Any]]:
    texts = [getattr(one.text, params.language).format(days=f"{one.days:g}") for one in params.moves]
    told = [{**one.model_dump(), "text": text} for one, text in zip(params.moves, texts, strict=True)]
    spend_per_order = (clustered.spend / clustered.order_count.where(clustered.order_count > 0)).median()
    return moves_as_changes(told, spend_per_order=float(np.nan_to_num(spend_per_order)))
