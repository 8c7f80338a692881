"""The metrics of a run: their names, meanings and directions. The experiment's description in MLflow lists them.

A name is a section and a metric, the same in a training and in the candidates that it tried: a facet's metrics are
in the section of the facet, as in ``behaviour/stability_mean``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower", ""]
FIGURES = ("buys_auc", "spend_r2", "category_auc")
"""What segments are asked to predict; ``<figure>`` in the names below stands for any of them."""


@dataclass(frozen=True)
class MetricDescription:
    """What a metric means, and whether a higher or a lower value is better (empty: neither)."""

    meaning: str
    better: Direction = ""


METRICS = {
    "<facet>/n_segments": MetricDescription("segments found"),
    "<facet>/stability_mean": MetricDescription(
        "share of a segment that re-clustering samples finds again; mean", "higher"
    ),
    "<facet>/stability_min": MetricDescription("the same for the least stable segment", "higher"),
    "<facet>/stable_share": MetricDescription("share of customers in stable segments", "higher"),
    "<facet>/segments_unstable": MetricDescription("segments with a stability below quality.min_stability", "lower"),
    "<facet>/silhouette": MetricDescription("separation, -1 to 1; 0.1 to 0.3 is usual for customers", "higher"),
    "<facet>/davies_bouldin": MetricDescription("spread within segments compared with distance between them", "lower"),
    "<facet>/calinski_harabasz": MetricDescription(
        "variance between segments by that within; grows with customers", "higher"
    ),
    "<facet>/density_validity": MetricDescription("density within segments against between them (HDBSCAN)", "higher"),
    "<facet>/noise_share": MetricDescription("share of customers that HDBSCAN put into no segment", "lower"),
    "<facet>/noise_share_fitted": MetricDescription(
        "share of fitted customers outside dense regions (HDBSCAN)", "lower"
    ),
    "<facet>/smallest_share": MetricDescription("share of customers in the smallest segment"),
    "<facet>/smallest_count": MetricDescription("customers in the smallest segment"),
    "<facet>/largest_segment_share": MetricDescription("share of customers in the largest segment"),
    "<facet>/low_evidence_share": MetricDescription("share of customers grouped by rule: too few events to cluster"),
    "<facet>/segments_with_archetype": MetricDescription("segments named by an archetype"),
    "<facet>/segments_named_apart": MetricDescription("segments whose name needs no number", "higher"),
    "<facet>/rules_fidelity": MetricDescription(
        "share of held-out customers that the readable rules put into the right segment", "higher"
    ),
    "<facet>/selection_score": MetricDescription(
        "score of a candidate among those tried, by facets.<facet>.chosen_by", "higher"
    ),
    "<facet>/validity_<figure>": MetricDescription("prediction by this facet's segments alone", "higher"),
    "validity/<figure>": MetricDescription("prediction by the segments of all facets together", "higher"),
    "validity/kept_<figure>": MetricDescription("share of the best possible prediction that segments keep", "higher"),
    "validity/ceiling_<figure>": MetricDescription("the best possible prediction, from whole profiles"),
    "validity/rfm_<figure>": MetricDescription("prediction by as many groups of RFM scores"),
    "validity/log_rfm_<figure>": MetricDescription("... by as many clusters of log RFM"),
    "validity/log_rfm_activity_shares_<figure>": MetricDescription("... of log RFM, activity and shares of interests"),
    "validity/counts_<figure>": MetricDescription("... of counts per category"),
    "backtest/who_auc": MetricDescription("interests predict who buys in a category; 0.5 is chance", "higher"),
    "backtest/what_auc": MetricDescription("interests predict in which categories a customer buys", "higher"),
    "backtest/what_ndcg": MetricDescription("quality of a customer's first five categories, 0 to 1", "higher"),
    "value/buy_auc": MetricDescription("buy_probability: ranks buyers above others; 0.5 is chance", "higher"),
    "value/buy_brier": MetricDescription("buy_probability: mean squared error", "lower"),
    "value/buy_log_loss": MetricDescription("buy_probability: mean log loss", "lower"),
    "value/buy_calibration_error": MetricDescription("buy_probability: predicted against observed, by tenths", "lower"),
    "value/alive_auc": MetricDescription(
        "alive_probability: ranks customers who are seen again above others", "higher"
    ),
    "value/alive_brier": MetricDescription("alive_probability: mean squared error", "lower"),
    "value/alive_log_loss": MetricDescription("alive_probability: mean log loss", "lower"),
    "value/alive_calibration_error": MetricDescription("alive_probability: the same as for buy_probability", "lower"),
    "value/spend_r2": MetricDescription("expected_spend: squared correlation of the logarithms", "higher"),
    "value/spend_total_error": MetricDescription("expected_spend: predicted total over the observed total, minus 1"),
    "queries/learned": MetricDescription("different searches whose meaning was learned from what followed"),
    "queries/by_text": MetricDescription("... guessed from their text"),
    "queries/by_keyboard": MetricDescription("... guessed as typed in the wrong keyboard layout"),
    "queries/abstained": MetricDescription("... without a meaning, as no guess was confident enough"),
}
SECTIONS = ("validity", "backtest", "queries")
METHODS = ("rfm", "log_rfm", "counts", "ceiling")
"""Groupings and predictions that segments are compared with; their metrics start with the name."""
ABOUT_EXPERIMENT = """\
Each run is one training of customer segments by `kindred train`. Open a run to see its segments; its artifact
`report.html` is the report for CRM analysts. Nested runs are the candidates that a training tried, `compare` runs set
trainings side by side, and `backtest` runs measure how well interests predict purchases.

**Parameters** are the settings of params.yaml as given; `fitted.` marks what the training fitted or chose for them. All
settings are in the artifact `params.json`.

**Metrics** of a facet start with its name, as in `behaviour/stability_mean`. `<figure>` is `buys_auc` (who buys after a
cutoff; 0.5 is chance), `spend_r2` (share of the variance of log spend) or `category_auc` (who buys in a category).

| metric | meaning | better |
|---|---|---|
{table}
"""


def describe_metric(name: str) -> MetricDescription | None:
    """The description of a metric of a run; None if it has none."""
    if name in METRICS:
        return METRICS[name]
    section, _, metric = name.partition("/")
    for figure in FIGURES:
        if metric.endswith(figure):
            metric = f"{metric.removesuffix(figure)}<figure>"
    return METRICS.get(f"{section}/{metric}") or METRICS.get(f"<facet>/{metric}")


def better_direction(name: str) -> Direction:
    """Whether a higher or a lower value of a metric is better; empty if neither, or if the metric is not described."""
    description = describe_metric(name)
    return description.better if description else ""


def current_name(name: str) -> str:
    """The present name of a logged metric: version 0.1 wrote ``validity_buys_auc`` for ``validity/buys_auc``.

    Examples
    --------
    >>> current_name("validity_kept_buys_auc"), current_name("rfm_buys_auc"), current_name("interest/silhouette")
    ('validity/kept_buys_auc', 'validity/rfm_buys_auc', 'interest/silhouette')
    """
    section, _, metric = name.partition("_")
    if "/" not in name and section in SECTIONS:
        return f"{section}/{metric}"
    return f"validity/{name}" if name.startswith(METHODS) else name


def experiment_description() -> str:
    """The description of the experiment in Markdown, with a row for each metric."""
    rows = [f"| `{name}` | {metric.meaning} | {metric.better} |" for name, metric in METRICS.items()]
    return ABOUT_EXPERIMENT.format(table="\n".join(rows))
