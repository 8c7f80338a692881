"""The parameters of a run in MLflow: the settings that people change. All settings are in its artifact params.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.config.params import Params

SETTINGS = (
    *("as_of", "history_days", "currency", "seed", "sessions.gap_minutes"),
    *("interests.fit", "interests.half_life_days", "interests.kappa", "interests.signal_weights"),
    *("interests.activity.half_life_days", "interests.activity.signal_weights", "interests.max_categories"),
    *("backtest.horizon_days", "backtest.cutoffs", "value.rfm_form", "value.tier_by", "value.vip_quantile"),
    *("journey.active_days", "journey.lapsed_days", "journey.lost_days", "calendar.country"),
    *("minimum.customers", "naming.min_group", "naming.proposer"),
)
FITTED_SETTINGS = (
    *("interests.half_life_days", "interests.kappa", "interests.signal_weights"),
    *("interests.activity.half_life_days", "interests.activity.signal_weights"),
)
FACET_SETTINGS = ("algorithm", "n_segments", "block_weights", "min_events", "min_evidence", "chosen_by")
CHOSEN_SETTINGS = ("algorithm", "n_segments", "block_weights")
FITTED = "fitted."


def given_settings(params: Params) -> dict[str, str]:
    """Key of params.yaml -> value as text, for the settings that people change."""
    values = params.model_dump(mode="json")
    facets = [
        f"facets.{name}.{key}" for name, facet in params.facets.items() if facet is not None for key in FACET_SETTINGS
    ]
    return {key: _as_text(_value(values, key)) for key in (*SETTINGS, *facets)}


def fitted_settings(params: Params, n_segments: Mapping[str, int], *, is_fitted: bool) -> dict[str, str]:
    """The same for what a training fitted or chose, with the prefix ``fitted.``.

    Parameters
    ----------
    params : Params
        With the fitted interests and the chosen settings of facets.
    n_segments : mapping of str to int
        Facet -> segments found.
    is_fitted : bool
        Whether interests were fitted; if not, they are as given.
    """
    values = params.model_dump(mode="json")
    facets = [f"facets.{name}.{key}" for name in n_segments for key in CHOSEN_SETTINGS]
    found = {key: _as_text(_value(values, key)) for key in (*(FITTED_SETTINGS if is_fitted else ()), *facets)}
    found |= {f"facets.{name}.n_segments": str(count) for name, count in n_segments.items()}
    return {FITTED + key: text for key, text in found.items()}


def _value(values: Mapping[str, Any], key: str) -> Any:
    found: Any = values
    for part in key.split("."):
        found = found[part]
    return found


def _as_text(value: Any) -> str:
    """Text as it is, numbers as in JSON, weights as ``view 1, cart 4``, lists with commas."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {number:.4g}" for name, number in value.items() if number) or "none"
    if isinstance(value, list):
        return ", ".join(map(_as_text, value))
    return json.dumps(value)
