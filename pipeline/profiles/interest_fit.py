"""The fit of interests: profiles from before a cutoff, purchases after it; earlier ones choose, the last reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from features.events import EventType
from models.backtest import Figure, Figures, Row, baseline_scores, compare_scores, formula_scores
from models.interests import Decay, Fitted, Formula, Snapshot, fit_formula
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.profile_params import DecayParams
from pipeline.ingest.source import Source
from pipeline.profiles.build import Progress
from pipeline.profiles.cutoffs import backtest_cutoffs, snapshot_at
from pipeline.report import plots
from pipeline.stores import mlflow_runs

FIGURES = {"who_auc": "who buys (AUROC)", "what_auc": "what (AUROC)", "what_ndcg": "what (NDCG@5)"}


@dataclass(frozen=True)
class Backtest:
    """What was measured.

    Attributes
    ----------
    cutoffs : list of datetime
        Ascending; the last is the one reported.
    rows : list of Row
    fitted : Fitted
        From the earlier cutoffs.
    customer_count, buyer_count : int
        Customers at the last cutoff, and those of them who bought something with a category after it.
    """

    cutoffs: list[datetime]
    rows: list[Row]
    fitted: Fitted
    customer_count: int
    buyer_count: int

    def frame(self) -> pd.DataFrame:
        """A line per way to score: name, and mean, low and high of each figure."""
        return _frame({row.name: row.figures for row in self.rows})

    def leads(self) -> pd.DataFrame:
        """The same, of how far Kindred, the last row, is ahead of each other one."""
        return _frame({row.name: row.lead for row in self.rows[:-1]})

    def as_text(self) -> str:
        """Both tables, the formula in words, and how they came about."""
        *others, ours = self.rows
        return "\n".join(
            [
                _line("", FIGURES.values()),
                *(_line(row.name, map(_interval, _values(row.figures))) for row in self.rows),
                "",
                _line(f"Kindred ({ours.name}) ahead of", FIGURES.values()),
                *(_line(row.name, map(_difference, _values(row.lead))) for row in others),
                "",
                f"At {self.cutoffs[-1]:%Y-%m-%d}: {self.customer_count:,} customers, of whom {self.buyer_count:,} "
                "bought something with a category in the horizon after it; the report of a training also counts who "
                "bought only what has none. Means, with 95% intervals over customers; those of differences are of the "
                "same customers resampled, so that rows can differ though their own intervals overlap.",
                f"Interests: {self.fitted.reason}. {formula_words(self.fitted)}",
            ]
        )


def _frame(rows: Mapping[str, Figures]) -> pd.DataFrame:
    parts = ("mean", "low", "high")
    lines = []
    for name, figures in rows.items():
        told = {f"{figure}_{part}": getattr(getattr(figures, figure), part) for figure in FIGURES for part in parts}
        lines.append({"scores": name, **told})
    return pd.DataFrame(lines)


def _values(figures: Figures) -> list[Figure]:
    return [getattr(figures, name) for name in FIGURES]


def _line(name: str, cells: Iterable[str]) -> str:
    return f"{name:<36}{''.join(f'{cell:>26}' for cell in cells)}"


def _interval(figure: Figure) -> str:
    return f"{figure.mean:.3f} ({figure.low:.3f}-{figure.high:.3f})"


def _difference(figure: Figure) -> str:
    return f"{figure.mean:+.3f} ({figure.low:+.3f} to {figure.high:+.3f})"


def formula_words(fitted: Fitted) -> str:
    """The formula in sentences that an analyst can read; of the signals that were seen."""
    interest, kappa, activity = fitted.formula.interest, fitted.formula.kappa, fitted.formula.activity
    counts = [f"a {kind.replace('_', ' ')} {interest.signal_weights.get(kind, 0.0):.3g}" for kind in fitted.seen]
    weights = f"What each action counts: {', '.join(counts)}. " if counts else ""
    return (
        f"{weights}For interests, what was done {interest.half_life_days:.3g} days before a customer's own last action "
        f"counts half, and the shop's mix counts {kappa:.3g}. Of how likely somebody is to buy at all, half is "
        f"forgotten after {activity.half_life_days:.3g} days."
    )


def fitted_params(
    con: Any, source: Source, params: Params, *, progress: Progress
) -> tuple[Params, Backtest | None, str]:
    """``params`` with the fitted formula, what was measured, and a note; as given where fitting is off or cannot be."""
    if params.interests.fit == "off":
        return params, None, ""
    try:
        found = run_backtest(con, source, params, progress=progress)
    except UserError as error:
        return params, None, f"Interests were not fitted: {error}"
    note = f"Interests: {found.fitted.reason}. {formula_words(found.fitted)}"
    return with_formula(params, found.fitted.formula), found, note


def log_backtest(mlflow: Any, found: Backtest) -> None:
    """Figures of the last row, both tables, the formula and a figure, under the active run."""
    last = found.rows[-1]
    measured = {f"backtest_{name}": getattr(last.figures, name).mean for name in FIGURES}
    mlflow.log_metrics({name: value for name, value in measured.items() if np.isfinite(value)})
    mlflow.log_table(found.frame().to_dict(orient="list"), "backtest.json")
    mlflow.log_table(found.leads().to_dict(orient="list"), "backtest_leads.json")
    mlflow.log_dict(asdict(found.fitted), "interest_formula.json")
    mlflow_runs.log_figures(mlflow, {"backtest": plots.backtest_figure(found.frame(), found.leads(), FIGURES)})


def run_backtest(con: Any, source: Source, params: Params, *, progress: Progress) -> Backtest:
    """Fit on the earlier cutoffs, compare on the last.

    Raises
    ------
    UserError
        The log is too short for a cutoff with history before it and a horizon after it, or nobody bought in a category.
    """
    cutoffs = backtest_cutoffs(source, params)
    snapshots: list[Snapshot] = []
    for cutoff in cutoffs:
        progress(f"cutoff {cutoff:%Y-%m-%d}")
        snapshot, adobe = snapshot_at(con, source, params, cutoff)
        snapshots.append(snapshot)
    *earlier, last = snapshots
    if not last.bought.any():
        raise UserError(
            f"expected purchases in categories in the {params.backtest.horizon_days} days from {cutoffs[-1]:%Y-%m-%d}, "
            "found none, so there is nothing to predict. Give source.products with its categories, or a later as_of."
        )
    progress("fitting and comparing")
    fitted = fit(earlier, params)
    formulas = {"given weights": given_formula(params)}
    if fitted.is_fitted:
        formulas["fitted weights"] = fitted.formula
    rows = compare_scores(
        baseline_scores(earlier, last, adobe) | formula_scores(formulas, last),
        last.bought,
        min_buyers=params.backtest.min_buyers,
        resamples=params.backtest.bootstrap_resamples,
        seed=params.seed,
    )
    return Backtest(cutoffs, rows, fitted, len(last.bought), int(last.bought.any(axis=1).sum()))


def given_formula(params: Params) -> Formula:
    """The formula that params.yaml gives."""
    given = params.interests
    return Formula(interest=_decay(given), kappa=given.kappa, activity=_decay(given.activity))


def _decay(given: DecayParams) -> Decay:
    return Decay({str(kind): weight for kind, weight in given.signal_weights.items()}, given.half_life_days)


def with_formula(params: Params, formula: Formula) -> Params:
    """``params`` with the settings of ``formula``; nothing is left to be fitted."""
    given = params.interests
    activity = given.activity.model_copy(update=_settings(formula.activity))
    changes = {**_settings(formula.interest), "kappa": formula.kappa, "activity": activity, "fit": "off"}
    return params.model_copy(update={"interests": given.model_copy(update=changes)})


def _settings(decay: Decay) -> dict[str, Any]:
    weights = {EventType(kind): weight for kind, weight in decay.signal_weights.items()}
    return {"signal_weights": weights, "half_life_days": decay.half_life_days}


def fit(snapshots: Sequence[Snapshot], params: Params) -> Fitted:
    """The formula fitted as ``interests`` of params.yaml says."""
    return fit_formula(
        snapshots,
        given_formula(params),
        min_purchases=params.interests.fit_min_purchases,
        prior_strength=params.interests.fit_prior_strength,
    )
