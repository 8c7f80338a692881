"""Trainings on real logs in ../shared/data, next to the project. Tests are skipped if the data are missing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from sklearn.cluster import KMeans

from features.events import ObservationWindow
from models.backtest import often_bought
from models.validity import Outcomes, figures_of, predicted_by_groups
from pipeline.commands.score import score
from pipeline.commands.train import TrainingResult, train
from pipeline.config.facets import facets_of
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.ingest.source import read_source
from pipeline.profiles.build import build_profiles
from pipeline.segmentation import sanity_checks
from pipeline.segmentation.cluster import cluster, segment_ids
from pipeline.segmentation.predictive_validity import NO_QUALITY_METRICS
from pipeline.stores import mlflow_runs
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from pipeline.stores.run_metrics import FIGURES
from tests.conftest import BuildOnce, copy_store
from tests.segments import published_sizes

HERE = Path(__file__).parent
DATA = HERE.parents[2] / "shared" / "data"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"expected the real logs in shared/{DATA.name}/ next to the project"),
]
# A single start varies too much on logs this small, so figures are means over several seeds.
SEEDS = range(8)
INTEREST_RULE = ("facets.interest.algorithm=rule",)
"""The fallback of the choice if interests form a continuum."""
LOGS = ("tmall2014", "rees46", "complete_journey", "online_retail")
LONG_LOGS = ("tmall2014", "complete_journey", "online_retail")
"""Logs that are long enough to measure whether eight segments predict."""


def params_of(log: str, folder: Path, *overrides: str) -> Params:
    defaults = (
        f"outputs.folder={folder / 'outputs'}",
        f"outputs.scores={folder / 'scores.parquet'}",
        f"tracking.uri=sqlite:///{folder / 'mlflow.db'}",
        f"tracking.artifacts={folder / 'artifacts'}",
        "quality.stability_resamples=4",
        "sweep.n_jobs=1",  # the cores are busy with other tests, and a process takes seconds to start
        "score.hysteresis=0",
    )
    return load_params(HERE / f"{log}.yaml", [*defaults, *overrides])


@pytest.fixture(autouse=True)
def store(tmp_path: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Figure, "savefig", lambda _, path, **__: Path(path).touch())  # `trained` draws its figures
    copy_store(mlflow_store, tmp_path)


@pytest.fixture
def found(
    log: str, build_once: BuildOnce, mlflow_store: Path, store: None, tmp_path: Path
) -> tuple[Params, TrainingResult]:
    """The training of a log: of a long one 30 days later, with eight segments, so that they can predict these days.

    Few candidates and small samples for the rest.
    """
    few = ("facets.interest.try_n_segments=[4, 8]", "sweep.sample_customers=1500", "sweep.resamples=4")
    counts = "[8]" if log in LONG_LOGS else "[4, 10, 16]"
    overrides = (*few, f"facets.behaviour.try_n_segments={counts}")

    def params_in(folder: Path) -> Params:
        params, days = params_of(log, folder, *overrides), 30 if log in LONG_LOGS else 0
        later = {"as_of": params.as_of + timedelta(days=days), "history_days": params.history_days + days}
        return params.model_copy(update=later)

    def make(folder: Path) -> TrainingResult:
        copy_store(mlflow_store, folder)
        return train(params_in(folder), sweep=False, progress=SILENT)

    folder, trained = build_once(log, make)
    copy_store(folder, tmp_path)
    return params_in(tmp_path), trained


@pytest.fixture
def journey(build_once: BuildOnce, mlflow_store: Path, store: None, tmp_path: Path) -> tuple[Params, TrainingResult]:
    """The champion of complete_journey, with eight segments of each facet."""
    interest_settings = ("facets.interest.algorithm=kmeans", "facets.interest.n_segments=8")
    overrides = ("interests.fit=off", "facets.behaviour.n_segments=8", *interest_settings)

    def make(folder: Path) -> TrainingResult:
        copy_store(mlflow_store, folder)
        return train(params_of("complete_journey", folder, *overrides), sweep=False, progress=SILENT)

    folder, trained = build_once("journey", make)
    copy_store(folder, tmp_path)
    return params_of("complete_journey", tmp_path, *overrides), trained


@pytest.mark.parametrize("log", LOGS)
def test_sanity_checks_pass(log: str, tmp_path: Path) -> None:
    params = params_of(log, tmp_path)
    with connect(params.engine, folder=tmp_path) as con:
        source = read_source(con, params, rejected_path=None)
        events = ObservationWindow(params.as_of, params.history_days).of(source.events)
        assert sanity_checks.check_timezone(params, source) == sanity_checks.check_row_totals(events) == []
        warnings = sanity_checks.check_units(events, source.products)
        assert ["'FUEL', 'MISCELLANEOUS' hold 99%" in warning for warning in warnings] == [True] * (
            log == "complete_journey"
        )
        wrong_timezone = params.model_copy(update={"cards": params.cards.model_copy(update={"timezone": "Asia/Tokyo"})})
        assert len(sanity_checks.check_timezone(wrong_timezone, source)) == (log == "complete_journey")


@pytest.mark.parametrize("log", LOGS)
def test_trains_and_scores(log: str, found: tuple[Params, TrainingResult], tmp_path: Path) -> None:
    params, trained = found
    facets = ["behaviour"] if log == "online_retail" else ["behaviour", "interest"]  # online_retail has no categories
    assert list(trained.segments.facet.unique()) == facets
    assert any(note.startswith("No segments by interest") for note in trained.notes) == (log == "online_retail")
    for _, own in trained.segments.groupby("facet"):
        assert own.name.is_unique
        assert own.customer_share.sum() == pytest.approx(1.0, abs=0.05)  # published shares are rounded
    scored = score(params, model_uri=trained.model_uri, out=tmp_path / "scores.parquet", progress=SILENT)
    table = pq.read_table(scored.path).to_pandas()
    assert table.customer_id.is_unique
    assert not table.customer_id.str.endswith(".0").any()
    # At the training date, scoring gives every customer the segment from training.
    for facet, column in zip(facets, ("segment_id", "interest_segment_id"), strict=False):
        own = trained.segments[trained.segments.facet == facet].set_index("segment_id")
        assert published_sizes(table[column]) == own.customer_count.to_dict()


def outcomes(con: Any, params: Params, days: int) -> pd.DataFrame:
    """Purchases in the ``days`` after as_of: customer_id, category (first level), spend."""
    catalogue = "left join products p using (product_id)" if "products" in con.list_tables() else ""
    path = "coalesce(p.category_path, e.category_path)" if catalogue else "e.category_path"
    as_of = params.as_of.strftime("%Y-%m-%d %H:%M:%S")
    purchases: pd.DataFrame = con.con.execute(
        f"select customer_id, split_part({path}, ' > ', 1) as category, "
        f"sum(coalesce(quantity * unit_price - coalesce(discount, 0), 0)) as spend from events e {catalogue} "
        f"where event_type = 'purchase' and occurred_at >= timestamp '{as_of}' "
        f"and occurred_at < timestamp '{as_of}' + interval {days} days group by all"
    ).df()
    return purchases


def validity(profile: pd.DataFrame, groups: list[Any], later: pd.DataFrame, *, with_spend: bool) -> dict[str, float]:
    """Predictive figures of one or more groupings together; ``groups`` are arrays of shape (n,)."""
    ids = pd.Index(profile.customer_id)
    later = later[later.customer_id.isin(ids)]
    spend = later.groupby("customer_id").spend.sum().reindex(ids).fillna(0.0).to_numpy()
    bought = ids.isin(later.customer_id)
    matrix = pd.crosstab(later.customer_id, later.category).reindex(ids).fillna(0).to_numpy() > 0
    actual = Outcomes(bought, spend if with_spend else 0.0 * spend, matrix[:, often_bought(matrix, 10)])
    # Means over several fold assignments, because the figures depend on them if few categories count.
    weights = np.ones((1, len(ids)))
    rows = [figures_of(predicted_by_groups(groups, actual, seed=seed), actual, weights) for seed in range(1, 9)]
    means = pd.DataFrame([{name: figure.mean for name, figure in row.items()} for row in rows])
    return {str(name): float(mean) for name, mean in means.mean().items()}


@pytest.mark.parametrize(("log", "with_spend"), [("tmall2014", False), ("complete_journey", True)])
def test_segments_predict_the_next_thirty_days_better_than_raw_counts(
    log: str, with_spend: bool, tmp_path: Path
) -> None:
    params = params_of(log, tmp_path, "facets.behaviour.n_segments=8", *INTEREST_RULE)
    behaviour, interest = facets_of(params)
    with connect(params.engine, folder=tmp_path) as con:
        source = read_source(con, params, rejected_path=None)
        profiles = build_profiles(DuckDB(con), source, params)
        later = outcomes(con, params, 30)
        counts = con.con.execute(
            "select customer_id, path, n from (select k.customer_name as customer_id, o.column as path, count(*) as n "
            "from observed_events o join known_customers k using (customer_id) where o.column is not null group by all)"
        ).df()
    fast = {"quality": {**params.quality.model_dump(), **NO_QUALITY_METRICS}}
    fits = [[cluster(profiles, params, facet, seed=seed, **fast) for facet in (behaviour, interest)] for seed in SEEDS]
    inside = fits[0][0].is_clustered
    profile = profiles.table[inside]
    groups = [
        [
            segment_ids(profiles.table, fit, facet)[inside]
            for fit, facet in zip(both, (behaviour, interest), strict=True)
        ]
        for both in fits
    ]
    raw = counts.pivot_table(index="customer_id", columns="path", values="n", fill_value=0)
    points = raw.reindex(profile.customer_id).fillna(0).to_numpy()
    raw_groups = [KMeans(8, n_init=10, random_state=seed).fit_predict(points) for seed in SEEDS]
    ours = pd.DataFrame([validity(profile, both, later, with_spend=with_spend) for both in groups])
    theirs = pd.DataFrame([validity(profile, [group], later, with_spend=with_spend) for group in raw_groups])
    print(f"\n{log}, mean over seeds (and spread)")
    for name, table in (("segments", ours), ("k-means on raw counts", theirs)):
        print(f"  {name:<24}", {key: f"{table[key].mean():.3f} ({table[key].std():.3f})" for key in table})
    for outcome in ours:
        assert ours[outcome].mean() > theirs[outcome].mean(), outcome


@pytest.mark.parametrize("log", LONG_LOGS)
def test_eight_segments_retain_most_of_the_achievable_signal(log: str, found: tuple[Params, TrainingResult]) -> None:
    """The balance of blocks is chosen on earlier cutoffs; the figures are of the last one, for both facets together."""
    params, result = found
    metrics = mlflow_runs.read_run(mlflow_runs.open_store(params), result.run_id).metrics
    figures = [name for name in FIGURES if f"validity/{name}" in metrics]
    methods = ("rfm_", "log_rfm_", "log_rfm_activity_shares_", "counts_", "ceiling_")
    print(f"\n{log}")
    for name in figures:
        # The baseline with shares is not measured in online_retail, which has no categories.
        measured = [method for method in ("", *methods) if f"validity/{method}{name}" in metrics]
        assert {"", "rfm_", "log_rfm_", "ceiling_"} <= {*measured}
        print(f"  {name:<14}", {method: round(metrics[f"validity/{method}{name}"], 3) for method in measured})
        assert metrics[f"validity/{name}"] > metrics.get(f"validity/counts_{name}", metrics[f"validity/rfm_{name}"])
    kept = [metrics[f"validity/kept_{name}"] for name in ("buys_auc", "spend_r2") if name in figures]
    assert min(kept) > 0.8


def test_segments_survive_another_seed_and_a_month(journey: tuple[Params, TrainingResult]) -> None:
    params, _ = journey
    params = params.model_copy(update={"quality": params.quality.model_copy(update={"validity": False})})
    both = {"seed": 1, "as_of": params.as_of + timedelta(days=29)}
    found = train(params.model_copy(update=both), sweep=False, progress=SILENT)
    rows = [row for row in found.lineage if row["run_id"] == found.run_id]
    print("\n", {row["segment_id"]: (row["verdict"], row["jaccard"]) for row in rows})
    for facet in ("behaviour", "interest"):
        assert [row["verdict"] for row in rows if row["facet"] == facet] == ["survived"] * 8


def test_an_update_gives_the_same_scores_as_a_full_run(journey: tuple[Params, TrainingResult], tmp_path: Path) -> None:
    params, trained = journey
    for days in (0, 1, 8):
        later = params.model_copy(update={"as_of": params.as_of + timedelta(days=days)})
        found = score(later, model_uri=trained.model_uri, out=tmp_path / "a.parquet", progress=SILENT, update=True)
    expected = score(later, model_uri=trained.model_uri, out=tmp_path / "b.parquet", progress=SILENT)
    ours, theirs = (pq.read_table(scored.path).to_pandas() for scored in (found, expected))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-9, atol=1e-9)
