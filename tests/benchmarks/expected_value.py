"""Expected value compared with BG/NBD, RFM cells, segments, recency and order counts, as Markdown tables.

python tests/benchmarks/expected_value.py [LOG ...]

Everything is fitted on the first cutoff and calibrated on the second; figures are of the last, a horizon before the end
of the log, which nothing else used.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).parents[2]))

from models.backtest import customer_weights, weighted_auc
from models.expected_value import PastOutcomes, fit_expected_value
from models.scorer import Floats, assign, expected_value, to_space
from models.value_quality import by_tenth, probability_figures, spend_figures
from pipeline.config.facets import facets_of
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.ingest.source import read_source
from pipeline.segmentation.cluster import cluster
from pipeline.segmentation.expected_values import past_outcomes
from pipeline.segmentation.predictive_validity import NO_QUALITY_METRICS, CutoffData, build_cutoffs
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from tests.benchmarks.bg_nbd import fit_bg_nbd, fit_gamma_gamma

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demo" / "shop"
LOGS = {
    "online_retail": ("2011-12-09T00:00:00Z", 373),
    "complete_journey": ("2017-12-31T00:00:00Z", 364),
    "tmall2014": ("2014-08-15T00:00:00Z", 123),
}
"""Log -> its end and its length in days."""
PRIOR_CUSTOMERS = 10.0
"""Weight of the shop's mean in the mean of a small cell."""
RFM = ["recency_score", "frequency_score", "monetary_score"]
RESAMPLES = 200
Prediction = tuple[Floats, Floats]
"""Probability of buying and expected spend, arrays of shape (n,)."""


def params_of(log: str) -> Params:
    """The parameters of a log as of its end; `demo`, or the folder of a shop simulated by `kindred simulate`."""
    if log in LOGS:
        end, days = LOGS[log]
        return load_params(ROOT / "tests" / "real" / f"{log}.yaml", [f"as_of={end}", f"history_days={days}"])
    folder = DEMO if log == "demo" else Path(log)
    tables = [f"source.{name}.path={folder / name}.parquet" for name in ("products", "customers")]
    return load_params(ROOT / "params.yaml", [f"source.events.path={folder}/events/*.parquet", *tables])


def calibrated(score: Callable[[pd.DataFrame], Floats], cutoffs: list[PastOutcomes]) -> Prediction:
    """Probability of a purchase from one score, fitted and calibrated on the same cutoffs as the expected value.

    Expected spend is the same for every buyer, so that the total equals that of the calibration cutoff.
    """
    first, *_, calibration, last = cutoffs
    model = LogisticRegression(C=1.0).fit(score(first.profile)[:, None], first.bought)
    on, new = (score(item.profile)[:, None] for item in (calibration, last))
    odds = model.decision_function(on)[:, None]
    platt = LogisticRegression(C=1.0).fit(odds, calibration.bought)
    probability = platt.predict_proba(model.decision_function(new)[:, None])[:, 1]
    level = calibration.spend.sum() / max(platt.predict_proba(odds)[:, 1].sum(), 1e-12)
    return probability, level * probability


def recency(profile: pd.DataFrame) -> Floats:
    """Days since the last purchase; customers who never bought come after all others."""
    days = profile["days_since_last_purchase"].to_numpy(np.float64)
    return -np.log1p(np.where(np.isnan(days), 1000.0, days))


def order_count(profile: pd.DataFrame) -> Floats:
    """Logarithm of the number of orders."""
    return np.log1p(profile["order_count"].to_numpy(np.float64))


def activity(profile: pd.DataFrame) -> Floats:
    """Logarithm of the activity."""
    return np.log(profile["activity"].to_numpy(np.float64) + 0.01)


def cell_means(cells: list[np.ndarray], cutoffs: list[PastOutcomes]) -> Prediction:
    """Mean of each cell at the cutoff before the last, shrunk towards that of all customers."""
    before, known, new = cutoffs[-2], cells[-2], cells[-1]

    def of(outcome: Floats) -> Floats:
        sums = pd.Series(outcome).groupby(known).agg(["sum", "size"])
        means = (sums["sum"] + PRIOR_CUSTOMERS * outcome.mean()) / (sums["size"] + PRIOR_CUSTOMERS)
        return pd.Series(new).map(means).fillna(outcome.mean()).to_numpy(np.float64)

    return of(before.bought.astype(np.float64)), of(before.spend)


def rfm_cells(profile: pd.DataFrame) -> np.ndarray:
    """The three scores as one number; 0 for customers who never bought."""
    return profile[RFM].fillna(0).to_numpy(np.int64) @ np.array([100, 10, 1])


def segment_labels(cutoffs: list[CutoffData], params: Params) -> list[np.ndarray]:
    """Segments of the first facet, with 8 clusters fitted at the first cutoff and assigned at all of them."""
    facet = facets_of(params)[0]
    facet = replace(facet, settings=facet.settings.model_copy(update={"algorithm": "kmeans", "n_segments": 8}))
    quality = {**params.quality.model_dump(), **NO_QUALITY_METRICS}
    fitted = cluster(cutoffs[0].profiles, params, facet, quality=quality)
    labels = []
    for cutoff in cutoffs:
        profile = cutoff.profiles.table
        counts = [name for names in fitted.scaling.get("counts") or [] for name in names or []]
        # A channel may be unknown at one of the cutoffs.
        full = profile.reindex(columns=[*dict.fromkeys([*counts, *fitted.scaling["names"]])])
        number = assign(to_space(full, fitted.scaling), fitted.clusters.model)["cluster_id"].astype(object)
        few = profile["event_count"].to_numpy() < facet.settings.min_events
        number[few] = profile["lifecycle_stage"].astype(str).to_numpy()[few]
        labels.append(number.astype(str))
    return labels


def bg_nbd(cutoffs: list[PastOutcomes], horizon_days: float, *, is_calibrated: bool) -> Prediction:
    """BG/NBD with Gamma-Gamma, fitted on the orders known at the last cutoff; 0 for customers who never bought.

    With ``is_calibrated`` the probability is calibrated and the total of spend corrected on the cutoff before, as for
    the others: the model itself knows no season and no outcome.
    """
    raw = [bg_nbd_predictions(item.profile, horizon_days) for item in cutoffs[-2:]]
    if not is_calibrated:
        return raw[-1]
    (before, spend_before), (new, spend_new) = raw
    odds = [np.log((p + 1e-4) / (1.0 - p + 1e-4))[:, None] for p in (before, new)]
    platt = LogisticRegression(C=1.0).fit(odds[0], cutoffs[-2].bought)
    return platt.predict_proba(odds[1])[:, 1], spend_new * cutoffs[-2].spend.sum() / max(spend_before.sum(), 1e-12)


def bg_nbd_predictions(profile: pd.DataFrame, horizon_days: float) -> Prediction:
    """The models' own predictions from the orders of a profile."""
    orders = profile["order_count"].to_numpy(np.float64)
    buyer = orders > 0
    age = profile["days_since_first_purchase"].to_numpy(np.float64)[buyer]
    repeats, last = orders[buyer] - 1.0, age - profile["days_since_last_purchase"].to_numpy(np.float64)[buyer]
    model = fit_bg_nbd(repeats, last, age)
    value = profile["average_order_value"].to_numpy(np.float64)[buyer]
    paid = value > 0
    order_value = np.zeros(len(value))
    if paid.sum() > 2:
        gamma = fit_gamma_gamma(orders[buyer][paid], value[paid])
        order_value = np.full(len(value), gamma.p * gamma.gamma / (gamma.q - 1.0))
        order_value[paid] = gamma.mean_value(orders[buyer][paid], value[paid])
    probability, spend = np.zeros(len(orders)), np.zeros(len(orders))
    probability[buyer] = model.buys(repeats, last, age, horizon_days)
    spend[buyer] = model.expected_orders(repeats, last, age, horizon_days) * order_value
    return probability, spend


def predictions(cutoffs: list[CutoffData], params: Params) -> dict[str, Prediction]:
    """Contender -> its prediction for the last cutoff."""
    past, days = [past_outcomes(cutoff) for cutoff in cutoffs], float(params.backtest.horizon_days)
    own = expected_value(past[-1].profile, fit_expected_value(past[:-1], seed=params.seed))
    return {
        "expected value": (own.buy_probability.to_numpy(), own.expected_spend.to_numpy()),
        "BG/NBD, Gamma-Gamma": bg_nbd(past, days, is_calibrated=False),
        "... calibrated": bg_nbd(past, days, is_calibrated=True),
        "RFM cells": cell_means([rfm_cells(item.profile) for item in past], past),
        "segment (8)": cell_means(segment_labels(cutoffs, params), past),
        "activity": calibrated(activity, past),
        "recency": calibrated(recency, past),
        "order count": calibrated(order_count, past),
    }


def table(made: Mapping[str, Prediction], last: PastOutcomes, seed: int) -> str:
    """A row per contender; the lead is of the expected value in AUROC, with a paired bootstrap interval."""
    weights = customer_weights(len(last.bought), RESAMPLES, seed)
    own = weighted_auc(next(iter(made.values()))[0], last.bought, weights)
    lines = [
        "| | AUROC | lead | Brier | log loss | calibration error | R² of log spend | total spend |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (probability, spend) in made.items():
        figures = probability_figures(probability, last.bought)
        lead = own - weighted_auc(probability, last.bought, weights)
        low, high = np.quantile(lead[1:], [0.025, 0.975])
        cells = [f"{figures[key]:.3f}" for key in ("brier", "log_loss", "calibration_error")]
        lead_text = f"{lead[0]:+.3f} ({low:+.3f} to {high:+.3f})" if name != "expected value" else ""
        money = ["-", "-"]
        if last.spend.any():
            money_figures = spend_figures(spend, last.spend)
            money = [f"{money_figures['r2']:.3f}", f"{money_figures['total_error']:+.0%}"]
        lines.append(" | ".join([f"| {name}", f"{figures['auc']:.3f}", lead_text, *cells, *money]) + " |")
    return "\n".join(lines)


def tenths_table(predicted: Prediction, last: PastOutcomes) -> str:
    """Predicted and observed share of buyers and mean spend by tenth of the predicted value."""
    outcomes = [last.bought.astype(np.float64), last.spend][: 1 + bool(last.spend.any())]
    rows = []
    for title, values, outcome in zip(("bought", "spend"), predicted, outcomes, strict=False):
        tenths = by_tenth(values, outcome)
        digits = "{:.2f}" if title == "bought" else "{:,.1f}"
        rows.append(f"| {title}, predicted | " + " | ".join(digits.format(tenth.predicted) for tenth in tenths) + " |")
        rows.append(f"| {title}, observed | " + " | ".join(digits.format(tenth.observed) for tenth in tenths) + " |")
    return "\n".join(["| tenth | " + " | ".join(str(n) for n in range(1, 11)) + " |", "|---" * 11 + "|", *rows])


def main() -> None:
    """Print the tables of each log."""
    for log in sys.argv[1:] or [*LOGS, "demo"]:
        params = params_of(log)
        with tempfile.TemporaryDirectory() as folder, connect(params.engine, folder=Path(folder)) as con:
            source = read_source(con, params, rejected_path=None)
            cutoffs, _ = build_cutoffs(DuckDB(con), source, params, last_only=False, progress=SILENT)
        last, made = past_outcomes(cutoffs[-1]), predictions(cutoffs, params)
        own = expected_value(
            last.profile, fit_expected_value([past_outcomes(item) for item in cutoffs[:-1]], seed=params.seed)
        )
        print(f"\n{log}, {cutoffs[-1].cutoff:%Y-%m-%d}: {len(last.bought):,} customers, {last.bought.sum():,} bought\n")
        print(table(made, last, params.seed), tenths_table(made["expected value"], last), sep="\n\n")
        if own.alive_probability.notna().all():
            alive = probability_figures(own.alive_probability.to_numpy(np.float64), last.seen)
            print("\nSeen again:", ", ".join(f"{key} {value:.3f}" for key, value in alive.items()), flush=True)


if __name__ == "__main__":
    main()
