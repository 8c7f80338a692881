"""The settings that are tried for a facet, and what they are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config.facets import Facet
from pipeline.config.params import Params
from pipeline.report.next_steps import command

DEFAULT_BALANCE = "blocks as given"
METRIC_OF_QUESTION = {
    "buys": "buys_auc",
    "spend": "spend_r2",
    "categories": "category_auc",
    "stability": "stable_share",
    "separation": "separation",
}
"""Question of ``chosen_by`` -> attribute of `models.selection.Candidate`."""


@dataclass(frozen=True)
class Setting:
    """The settings of a candidate; None where a setting does not apply."""

    algorithm: str
    n_segments: int | None
    min_cluster_share: float | None
    balance: int
    block_weights: Mapping[str, float]
    """Only the weights that differ from the facet's."""

    def apply_to(self, facet: Facet) -> Facet:
        """The facet with this setting."""
        changes: dict[str, Any] = {"algorithm": self.algorithm, "block_weights": dict(self.block_weights)}
        if self.n_segments is not None:
            changes["n_segments"] = self.n_segments
        if self.min_cluster_share is not None:
            changes["min_cluster_share"] = self.min_cluster_share
        return facet.with_settings(**changes)

    def overrides(self, facet: Facet) -> dict[str, str]:
        """The setting as keys and values of params.yaml."""
        section = f"facets.{facet.name}"
        overrides = {f"{section}.algorithm": self.algorithm}
        if self.n_segments is not None:
            overrides[f"{section}.n_segments"] = str(self.n_segments)
        if self.min_cluster_share is not None:
            overrides[f"{section}.min_cluster_share"] = f"{self.min_cluster_share:g}"
        weights = {f"{section}.block_weights.{name}": f"{weight:g}" for name, weight in self.block_weights.items()}
        return overrides | weights

    def command(self, params: Params, facet: Facet) -> str:
        """The command that trains the setting in full."""
        return command(params, "train", overrides=self.overrides(facet))

    def balance_name(self) -> str:
        """The balance of blocks in words."""
        return ", ".join(f"{name} {weight:g}" for name, weight in self.block_weights.items()) or DEFAULT_BALANCE


def needs_choice(facet: Facet, *, sweep: bool) -> bool:
    """Whether the facet's settings must be chosen before it is trained."""
    settings = facet.settings
    return sweep or settings.algorithm == "auto" or (settings.algorithm == "kmeans" and settings.n_segments == "auto")


def search_space(params: Params, facet: Facet, *, sweep: bool) -> list[Setting]:
    """Settings to try: for the facet's algorithm or, with ``sweep``, for all algorithms in `sweep.algorithm`.

    If more than one algorithm is tried, a facet named by interests also tries its rule.
    """
    settings = facet.settings
    tries_algorithms = sweep or settings.algorithm == "auto"
    # A balance equal to the configured weights is not tried twice.
    balances: list[dict[str, float]] = [
        {str(block): weight for block, weight in balance.items() if settings.block_weights.get(block, 0.0) != weight}
        for balance in settings.try_block_weights
    ]
    counts = sorted(set(settings.try_n_segments)) if sweep or settings.n_segments == "auto" else [settings.n_segments]
    space = []
    for algorithm in dict.fromkeys(params.sweep.algorithm if tries_algorithms else [settings.algorithm]):
        for index, balance in enumerate([{}, *(balance for balance in balances if balance)]):
            if algorithm == "kmeans":
                space += [Setting(algorithm, count, None, index, balance) for count in counts]
            else:
                shares = sorted(set(settings.try_min_cluster_share))
                space += [Setting(algorithm, None, share, index, balance) for share in shares]
    if tries_algorithms and facet.is_named_by_interests:
        space.append(Setting("rule", None, None, 0, {}))
    return space


def deciding_metrics(facet: Facet) -> list[str]:
    """Attributes of `Candidate` that decide between the facet's candidates."""
    return [METRIC_OF_QUESTION[question] for question in facet.settings.chosen_by]
