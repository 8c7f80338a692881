"""Fits and backtests the interest formula on past cutoffs.

Profiles from before a cutoff predict the purchases after it. The earlier cutoffs fit the formula, and the last one
tests it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from features.events import EventType
from models.backtest import Figure, Figures, Row, baseline_scores, compare_scores, formula_scores
from models.disclosure import rounded_count
from models.interests import Decay, FittedFormula, Formula, Snapshot, fit_formula
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.config.sections.profiles import DecayParams
from pipeline.ingest.source import Source
from pipeline.profiles.cutoffs import backtest_cutoffs, snapshot_at
from pipeline.report import plots
from pipeline.report.terminal import align_columns
from pipeline.stores.engines.engine import Engine
from pipeline.stores.run_log import OpenRun

FIGURES = {"who_auc": "who buys (AUROC)", "what_auc": "what (AUROC)", "what_ndcg": "what (NDCG@5)"}


@dataclass(frozen=True)
class Backtest:
    """Result of a backtest.

    Attributes
    ----------
    cutoffs : list of datetime
        Ascending; results are for the last one.
    rows : list of Row
        One per scoring method; Kindred's formula is last.
    fitted : FittedFormula
        The formula fitted on the earlier cutoffs.
    customer_count, buyer_count : int
        Customers at the last cutoff, and how many of them bought something with a category after it.
    """

    cutoffs: list[datetime]
    rows: list[Row]
    fitted: FittedFormula
    customer_count: int
    buyer_count: int

    def frame(self) -> pd.DataFrame:
        """One row per scoring method: its name, and mean, low and high of each figure."""
        return _frame({row.name: row.figures for row in self.rows})

    def leads(self) -> pd.DataFrame:
        """The same for the lead of Kindred, the last row, over each other method."""
        return _frame({row.name: row.lead for row in self.rows[:-1]})

    def as_text(self) -> str:
        """Both tables, the formula as text, and how the figures were computed."""
        *others, ours = self.rows
        scores = [[row.name, *map(_interval, _values(row.figures))] for row in self.rows]
        leads = [[row.name, *map(_difference, _values(row.lead))] for row in others]
        figures = range(1, len(FIGURES) + 1)
        return "\n".join(
            [
                *align_columns([["Scores", *FIGURES.values()], *scores], right=figures),
                "",
                f"Kindred ({ours.name}) ahead of",
                *align_columns([["Scores", *FIGURES.values()], *leads], right=figures),
                "",
                f"At {self.cutoffs[-1]:%Y-%m-%d}: {self.customer_count:,} customers, of whom {self.buyer_count:,} "
                "bought something with a category in the horizon after it. The training report also counts customers "
                "who bought only products without a category. Figures are means with 95% intervals over customers. "
                "Intervals of differences resample the same customers for both rows, so rows can differ even if "
                "their own intervals overlap.",
                f"Interests: {self.fitted.reason}. {formula_text(self.fitted)}",
            ]
        )


def _frame(rows: Mapping[str, Figures]) -> pd.DataFrame:
    parts = ("mean", "low", "high")
    lines = []
    for name, figures in rows.items():
        cells = {f"{figure}_{part}": getattr(getattr(figures, figure), part) for figure in FIGURES for part in parts}
        lines.append({"scores": name, **cells})
    return pd.DataFrame(lines)


def _values(figures: Figures) -> list[Figure]:
    return [getattr(figures, name) for name in FIGURES]


def _interval(figure: Figure) -> str:
    return f"{figure.mean:.3f} ({figure.low:.3f}-{figure.high:.3f})"


def _difference(figure: Figure) -> str:
    return f"{figure.mean:+.3f} ({figure.low:+.3f} to {figure.high:+.3f})"


def formula_text(fitted: FittedFormula) -> str:
    """The formula in words, for the signals found in the log."""
    interest, kappa, activity = fitted.formula.interest, fitted.formula.kappa, fitted.formula.activity
    counts = [f"a {kind.replace('_', ' ')} {interest.signal_weights.get(kind, 0.0):.3g}" for kind in fitted.event_types]
    weights = f"Weight of each action: {', '.join(counts)}. " if counts else ""
    return (
        f"{weights}For interests, an action {interest.half_life_days:.3g} days before the customer's last action "
        f"counts half, and the shop's mix counts as much as {kappa:.3g} views. For the likelihood of buying at all, "
        f"an action counts half after {activity.half_life_days:.3g} days."
    )


def fitted_params(
    engine: Engine, source: Source, params: Params, *, progress: Progress
) -> tuple[Params, Backtest | None, str]:
    """``params`` with the fitted formula, the backtest and a note; unchanged if fitting is off or impossible."""
    if params.interests.fit == "off" or not source.summary.has_products:
        return params, None, ""
    try:
        backtest = run_backtest(engine, source, params, progress=progress)
    except UserError as error:
        return params, None, f"Interests were not fitted: {error}"
    note = f"Interests: {backtest.fitted.reason}. {formula_text(backtest.fitted)}"
    return with_formula(params, backtest.fitted.formula), backtest, note


def log_backtest(run: OpenRun, backtest: Backtest) -> None:
    """Log the last row's figures, both tables, the formula and a plot."""
    last = backtest.rows[-1]
    metrics = {f"backtest/{name}": getattr(last.figures, name).mean for name in FIGURES}
    run.log_metrics({name: value for name, value in metrics.items() if np.isfinite(value)})
    run.log_table(backtest.frame(), "backtest.json")
    run.log_table(backtest.leads(), "backtest_leads.json")
    run.log_json(asdict(backtest.fitted), "interest_formula.json")
    run.log_figures({"backtest": plots.backtest_figure(backtest.frame(), backtest.leads(), FIGURES)})


def run_backtest(engine: Engine, source: Source, params: Params, *, progress: Progress) -> Backtest:
    """Fit on the earlier cutoffs, compare on the last.

    Raises
    ------
    UserError
        The log is too short for history before a cutoff and a horizon after it, or has no purchases with a category.
    """
    cutoffs = backtest_cutoffs(source, params)
    snapshots: list[Snapshot] = []
    for cutoff in progress.each("collecting signals before earlier dates", cutoffs, len(cutoffs)):
        snapshot, adobe = snapshot_at(engine, source, params, cutoff)
        snapshots.append(snapshot)
    *earlier, last = snapshots
    if not last.bought.any():
        raise UserError(
            f"expected purchases with a category in the {params.backtest.horizon_days} days from "
            f"{cutoffs[-1]:%Y-%m-%d}, but found none, so there is nothing to predict. Set source.products with "
            "categories, or change as_of."
        )
    progress("fitting and comparing")
    fitted = fit(earlier, params)
    formulas = {"configured weights": formula_from_params(params)}
    if fitted.is_fitted:
        formulas["fitted weights"] = fitted.formula
    rows = compare_scores(
        baseline_scores(earlier, last, adobe) | formula_scores(formulas, last),
        last.bought,
        min_buyers=params.backtest.min_buyers,
        resamples=params.backtest.bootstrap_resamples,
        seed=params.seed,
    )
    buyer_count = int(last.bought.any(axis=1).sum())
    min_group = params.naming.min_group
    published = [
        Row(row.name, *(figures.published(buyer_count, min_group) for figures in (row.figures, row.lead)))
        for row in rows
    ]
    return Backtest(
        cutoffs, published, fitted, rounded_count(len(last.bought), min_group), rounded_count(buyer_count, min_group)
    )


def formula_from_params(params: Params) -> Formula:
    """The formula of params.yaml."""
    interests = params.interests
    return Formula(interest=_decay(interests), kappa=interests.kappa, activity=_decay(interests.activity))


def _decay(params: DecayParams) -> Decay:
    return Decay({str(kind): weight for kind, weight in params.signal_weights.items()}, params.half_life_days)


def with_formula(params: Params, formula: Formula) -> Params:
    """``params`` with the settings of ``formula`` and fitting switched off."""
    activity = params.interests.activity.model_copy(update=_settings(formula.activity))
    changes = {**_settings(formula.interest), "kappa": formula.kappa, "activity": activity, "fit": "off"}
    return params.model_copy(update={"interests": params.interests.model_copy(update=changes)})


def _settings(decay: Decay) -> dict[str, Any]:
    weights = {EventType(kind): weight for kind, weight in decay.signal_weights.items()}
    return {"signal_weights": weights, "half_life_days": decay.half_life_days}


def fit(snapshots: Sequence[Snapshot], params: Params) -> FittedFormula:
    """The formula fitted with the settings in ``interests`` of params.yaml."""
    return fit_formula(
        snapshots,
        formula_from_params(params),
        min_purchases=params.interests.fit_min_purchases,
        prior_strength=params.interests.fit_prior_strength,
    )
