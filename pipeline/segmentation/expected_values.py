"""The expected value of customers: fitted on the cutoffs of a training, and judged on the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from models.disclosure import rounded_count, shown_measure
from models.expected_value import MIN_CUSTOMERS, PastOutcomes, fit_expected_value
from models.scorer import ExpectedValueModel, expected_value
from models.value_quality import value_figures
from pipeline.config.params import Params
from pipeline.segmentation.predictive_validity import CutoffData

METRIC_PREFIX = "value/"
MAX_TOTAL_ERROR = 0.5
"""A total that was expected this much too high or too low, as a share of the observed one, is pointed out."""


@dataclass(frozen=True)
class ExpectedValue:
    """The expected value as fitted, and how well the same fit did one horizon earlier.

    Attributes
    ----------
    model : ExpectedValueModel, optional
        Fitted on all cutoffs; None if it is not known.
    figures : dict
        `models.value_quality.value_figures` at the last cutoff, of a fit on the cutoffs before it, as they may be
        published. Empty without one.
    note : str
        Why something is not known or not reliable; may be empty.
    """

    model: ExpectedValueModel | None = None
    figures: dict[str, float] = field(default_factory=dict)
    note: str = ""

    def metrics(self) -> dict[str, float]:
        """Metrics for MLflow."""
        return {METRIC_PREFIX + name: figure for name, figure in self.figures.items()}


def fit_expected_values(cutoffs: Sequence[CutoffData], params: Params) -> ExpectedValue:
    """Fit the expected value on the cutoffs of a training; the horizon is ``backtest.horizon_days``."""
    if not cutoffs:
        return ExpectedValue()  # another note says why there is no cutoff
    past, min_group = [past_outcomes(cutoff) for cutoff in cutoffs], params.naming.min_group
    model = fit_expected_value(past, seed=params.seed)
    if model is None:
        note = (
            f"The scores have no expected value: expected at least {MIN_CUSTOMERS} customers who bought in the "
            f"{params.backtest.horizon_days} days after the last cutoff and as many who did not, and as many of each "
            f"at the earlier cutoffs together. At the last, {rounded_count(past[-1].bought.sum(), min_group):,} of "
            f"{rounded_count(len(past[-1].bought), min_group):,} bought. Give a longer log, or change "
            "backtest.horizon_days."
        )
        return ExpectedValue(note=note)
    earlier = fit_expected_value(past[:-1], seed=params.seed)
    figures = value_figures(expected_value(past[-1].profile, earlier), past[-1])
    shown = {name: shown_measure(figure, past[-1].bought.sum(), min_group) for name, figure in figures.items()}
    published = {name: figure for name, figure in shown.items() if figure is not None}
    return ExpectedValue(model, published, _total_note(published, params))


def _total_note(figures: dict[str, float], params: Params) -> str:
    """A warning if the expected spend of all customers was far from the observed one."""
    error = figures.get("spend_total_error", 0.0)
    if abs(error) <= MAX_TOTAL_ERROR:
        return ""
    return (
        f"Warning: expected_spend ranks customers, but its amounts are unreliable: for the last "
        f"{params.backtest.horizon_days} days, the same fit expected {1 + error:.0%} of what was spent. A longer log "
        "makes them better."
    )


def past_outcomes(cutoff: CutoffData) -> PastOutcomes:
    """The profiles of a cutoff and what the customers did after it."""
    return PastOutcomes(cutoff.profiles.table, cutoff.outcomes.bought, cutoff.seen, cutoff.outcomes.spend)
