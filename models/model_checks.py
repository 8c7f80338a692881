"""Whether the numbers of a saved segmentation can be used: shapes that fit, all finite, and in their ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np

from models.scorer import NOISE, ExpectedValueModel, LinearPredictor

TRANSFORMS = {"none", "log", "root", "rate"}
TERMS_PER_FEATURE = 3
"""Terms of a linear predictor: each feature, and by how much it is above its two knots."""
Check = tuple[bool, str]


def problems(model: Mapping[str, Any]) -> list[str]:
    """What is wrong with a model of `models.scorer.read_model`, without any of its values; empty if nothing is.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        It lacks a part, or a part is of another type.
    """
    found = [f"{facet['name']}: {text}" for facet in model["facets"] for text in _facet_problems(facet)]
    if not model["facets"]:
        found.append("it has no facet")
    value: ExpectedValueModel | None = model["expected_value"]
    return found + (_failed(_value_checks(value)) if value else [])


def _failed(checks: Sequence[Check]) -> list[str]:
    return [text for holds, text in checks if not holds]


def _facet_problems(facet: Mapping[str, Any]) -> list[str]:
    scaling, clusters = facet["scaling"], facet["clusters"]
    width = len(scaling["names"])
    groups = [*facet["standing"].values(), *facet["segments"]]
    known = {item["cluster_id"] for item in facet["segments"]}
    checks: list[Check] = [
        *_scaling_checks(scaling, width),
        *_cluster_checks(clusters, width),
        *_staying_checks(clusters),
        (not facet["segments"] or _cluster_ids(clusters) <= known, "a cluster has no segment"),
        (bool(facet["standing"]), "it has no group by rule"),
        (all(isinstance(item["name"], str) for item in groups if item["segment_id"] is not None), "a name is no text"),
        (all(isinstance(text, str) for text in facet["evidence_words"]), "a word of evidence is no text"),
        (len(facet["evidence_words"]) >= 3, "a word of evidence is missing"),
        (_is_finite([facet["min_events"], facet["min_evidence"]], least=0.0), "a minimum is no count"),
        (_is_finite([facet["border_margin"]], least=0.0, most=1.0), "border_margin is not in 0..1"),
        (_is_finite(_effects(facet.get("moves", ()))), "a move is not finite"),
        (_is_finite([*facet.get("caps", {}).values()]), "a cap is not finite"),
    ]
    return _failed(checks)


def _scaling_checks(scaling: Mapping[str, Any], width: int) -> list[Check]:
    parts = ("missing", "centre", "scale")
    rates = [index for index, pair in enumerate(scaling.get("counts") or []) if pair]
    priors = [scaling[name][index] for name in ("alpha", "beta") for index in rates]
    return [
        (len(set(scaling["names"])) == width, "a column is listed twice"),
        (all(np.shape(scaling[part]) == (width,) for part in parts), "the scaling has another number of columns"),
        (all(_is_finite(scaling[part]) for part in parts), "the scaling is not finite"),
        (len(scaling["transforms"]) == width, "the transforms have another number of columns"),
        (set(scaling["transforms"]) <= TRANSFORMS, "a transform is unknown"),
        (_is_finite(priors, least=np.finfo(float).tiny), "the prior of a rate is not above 0"),
    ]


def _cluster_checks(clusters: Mapping[str, Any], width: int) -> list[Check]:
    if not clusters:  # all customers are grouped by rule
        return []
    if "centres" in clusters:
        centres = clusters["centres"]
        return [
            (np.ndim(centres) == 2 and np.shape(centres)[1] == width, "the centres have another number of columns"),
            (len(centres) > 0 and _is_finite(centres), "a centre is not finite"),
        ]
    if "nodes" in clusters:
        rule = [clusters[name] for name in ("kappa", "min_lift", "min_errors")]
        return [
            (np.shape(clusters["nodes"]) == (width - 1,), "the groups have another number of columns"),
            (np.max(clusters["nodes"], initial=NOISE) < len(clusters["mix"]), "a group has no share"),
            (_is_finite(clusters["mix"], least=0.0, most=1.0), "a share of the shop is not in 0..1"),
            (_is_finite(rule, least=0.0), "a threshold is not finite"),
        ]
    exemplars, labels = clusters["exemplars"], clusters["labels"]
    return [
        (np.ndim(exemplars) == 2 and np.shape(exemplars)[1] == width, "the exemplars have another number of columns"),
        (len(exemplars) > 0 and _is_finite(exemplars), "an exemplar is not finite"),
        (np.shape(labels) == (len(exemplars),), "the labels have another number of rows"),
        (_is_finite(labels, least=NOISE), "a label is no cluster"),
        (_is_finite([clusters["vote_neighbors"]], least=1.0), "vote_neighbors is not above 0"),
    ]


def _staying_checks(clusters: Mapping[str, Any]) -> list[Check]:
    if "staying_clusters" not in clusters:
        return []
    shape = (len(clusters["staying_clusters"]), len(clusters["staying_margins"]))
    return [
        (np.shape(clusters["staying_rates"]) == shape, "the rates of staying have another shape"),
        (_is_finite(clusters["staying_rates"], least=0.0, most=1.0), "a rate of staying is not in 0..1"),
        (_is_finite(clusters["staying_margins"], least=0.0), "a margin of staying is not finite"),
    ]


def _cluster_ids(clusters: Mapping[str, Any]) -> set[int]:
    """The clusters that customers can be in; none if all are grouped by rule."""
    if not clusters:
        return set()
    if "centres" in clusters:
        return {*range(len(clusters["centres"]))}
    if "nodes" in clusters:
        return {*range(len(clusters["mix"]))}
    return {int(label) for label in np.unique(clusters["labels"])} - {NOISE}


def _effects(moves: Sequence[Mapping[str, Any]]) -> list[float]:
    return [number for move in moves for change in move["changes"] for effect in change.values() for number in effect]


def _value_checks(model: ExpectedValueModel) -> list[Check]:
    predictors = [part for part in (model.buys, model.seen, model.spend) if part is not None]
    bounds = [model.mean_order_value, *model.low, *model.high, *(knot for pair in model.knots for knot in pair)]
    terms = TERMS_PER_FEATURE * len(model.low)
    return [
        (len(model.low) == len(model.high) == len(model.knots), "the expected value has other features"),
        (all(len(part.weights) == terms for part in predictors), "the expected value has another number of weights"),
        (_is_finite(bounds), "a bound of the expected value is not finite"),
        (all(map(_is_finite_predictor, predictors)), "a weight of the expected value is not finite"),
    ]


def _is_finite_predictor(predictor: LinearPredictor) -> bool:
    intercept, weights = astuple(predictor)
    return _is_finite([intercept, *weights])


def _is_finite(values: Any, *, least: float = -np.inf, most: float = np.inf) -> bool:
    """Whether these are numbers, all finite and from ``least`` to ``most``."""
    array = np.asarray(values)
    if not array.size:
        return True
    return array.dtype.kind in "iuf" and bool((np.isfinite(array) & (array >= least) & (array <= most)).all())
