"""The choice of settings: what is tried, what is chosen, and what is reported and logged."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from models.disclosure import significant, significant_figures
from models.segmentation import FittedClusters
from models.selection import Candidate, scores
from models.validity import Outcomes
from pipeline.commands.train import train
from pipeline.config.errors import UserError
from pipeline.config.facets import Facet, facets_of, with_facets
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.ingest.source import read_source
from pipeline.profiles.build import Profiles, build_profiles
from pipeline.segmentation.candidates import trials
from pipeline.segmentation.candidates.search_space import Setting, deciding_metrics, needs_choice, search_space
from pipeline.segmentation.candidates.trials import Trial
from pipeline.segmentation.choose import ChosenClusters, choose_and_fit
from pipeline.segmentation.cluster import cluster
from pipeline.segmentation.describe import describe_segments, name_clusters
from pipeline.segmentation.predictive_validity import CutoffData
from pipeline.stores import mlflow_runs
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from pipeline.stores.run_metrics import describe_metric
from tests.pipeline.conftest import params_in

PARAMS = Path(__file__).parents[3] / "params.yaml"
SMALL = (
    *(
        "quality.validity=true",
        "facets.behaviour.n_segments=auto",
        "facets.behaviour.try_n_segments=[3, 5]",
        "facets.behaviour.try_block_weights=[{value: 2.0}]",
        "sweep.resamples=2",
    ),
    *("sweep.sample_customers=600", "sweep.n_jobs=1", "backtest.bootstrap_resamples=10", "sweep.algorithm=[kmeans]"),
)


def behaviour_of(params: Params) -> Facet:
    return facets_of(params)[0]


def interest_of(params: Params) -> Facet:
    return facets_of(params)[1]


def chosen(
    profiles: Profiles, earlier: list[CutoffData], config: Params, starts: dict[str, Any] | None = None
) -> ChosenClusters:
    """The choice for the behaviour facet."""
    facet = behaviour_of(config)
    return choose_and_fit(None, profiles, earlier, config, facet, starts or {}, sweep=False, progress=SILENT)


def test_the_search_space_and_the_command_that_trains_a_candidate(params: Callable[..., Params]) -> None:
    config = params(
        *SMALL, "sweep.algorithm=[kmeans, hdbscan]", "facets.behaviour.try_block_weights=[{value: 2.0}, {value: 1.0}]"
    )
    facet = behaviour_of(config)
    plain = search_space(config, facet, sweep=False)
    # A balance equal to the configured weights is not tried twice.
    assert [(setting.n_segments, setting.balance_name()) for setting in plain] == [
        *((3, "blocks as given"), (5, "blocks as given"), (3, "value 2"), (5, "value 2"))
    ]
    every = search_space(config, facet, sweep=True)
    assert every[:4] == plain
    assert {setting.min_cluster_share for setting in every[4:]} == {0.02, 0.05}
    for setting in every:
        expected = with_facets(config, [setting.apply_to(facet), interest_of(config)])
        assert trained_by(setting.command(config, facet)).digest() == expected.digest()


def test_the_rule_of_interests_is_tried_along_with_several_algorithms(params: Callable[..., Params]) -> None:
    """Its command leaves the other facet unchanged."""
    config = params(
        *SMALL,
        "facets.interest.algorithm=auto",
        "facets.interest.n_segments=auto",
        "facets.interest.try_n_segments=[3, 4]",
    )
    facet = interest_of(config)
    space = search_space(config, facet, sweep=False)
    assert [(one.algorithm, one.n_segments) for one in space] == [("kmeans", 3), ("kmeans", 4), ("rule", None)]
    fixed = search_space(config, facet.with_settings(algorithm="kmeans", n_segments=5), sweep=False)
    assert [(one.algorithm, one.n_segments) for one in fixed] == [("kmeans", 5)]
    assert "rule" not in {one.algorithm for one in search_space(config, behaviour_of(config), sweep=True)}
    by_rule = trained_by(space[-1].command(config, facet))
    assert by_rule.digest() == with_facets(config, [behaviour_of(config), space[-1].apply_to(facet)]).digest()


def trained_by(command: str) -> Params:
    """The parameters that a command passes to ``kindred train``."""
    words = shlex.split(command)
    assert words[1:3] == ["train", "--params"]
    return load_params(Path(words[3]), [words[at + 1] for at, word in enumerate(words) if word == "--set"])


def test_when_settings_must_be_chosen(params: Callable[..., Params]) -> None:
    def is_open(*more: str, sweep: bool = False) -> list[bool]:
        return [needs_choice(facet, sweep=sweep) for facet in facets_of(params(*more))]

    assert is_open("facets.behaviour.n_segments=auto") == [True, False]
    assert is_open("facets.behaviour.n_segments=8") == [False, False]
    assert is_open("facets.behaviour.n_segments=auto", "facets.behaviour.algorithm=hdbscan") == [False, False]
    assert is_open("facets.interest.algorithm=auto", "facets.interest.n_segments=4") == [False, True]
    assert is_open("facets.interest.algorithm=rule") == [False, False]
    assert is_open("facets.behaviour.n_segments=8", sweep=True) == [True, True]


EXPECTED = ("selection_score", "stability_mean", "validity_buys_auc", "smallest_count", "segments_named_apart")
DRAWN = Figure.savefig
"""Before `params` replaces it."""
SHARED = ("n_segments", "stability_mean", "silhouette", "smallest_share", "validity_buys_auc", "validity_spend_r2")


def test_the_choice_uses_earlier_cutoffs_and_is_reported_and_logged(
    params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = params(*SMALL)
    monkeypatch.setattr(Figure, "savefig", DRAWN)
    result = train(config, sweep=False, progress=SILENT)
    store = mlflow_runs.open_store(config)
    runs = list(mlflow_runs.search_runs(store, [store.experiment_id]))
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == result.run_id]
    assert len(children) == 4
    for run in children:
        assert {f"behaviour/{name}" for name in EXPECTED} <= set(run.data.metrics)
        assert all(describe_metric(name) for name in run.data.metrics)
        candidate = trained_by(run.data.tags["command"])
        settings = behaviour_of(candidate).settings
        assert (settings.algorithm, candidate.source) == ("kmeans", config.source)
        assert run.data.tags["facet"] == "behaviour"
        assert settings.n_segments == int(run.data.params["facets.behaviour.n_segments"])
    chosen = next(run for run in children if run.data.tags["is_chosen"] == "true")
    parent = store.client.get_run(result.run_id)
    for key in ("facets.behaviour.algorithm", "facets.behaviour.n_segments"):
        assert parent.data.params[f"fitted.{key}"] == chosen.data.params[key]
    assert parent.data.params["facets.behaviour.n_segments"] == "auto"
    # A figure has the same name in a candidate and in the training.
    assert {name for name in chosen.data.metrics if name.rpartition("/")[2] in SHARED} <= set(parent.data.metrics)
    segments = mlflow_runs.read_run(store, result.run_id).summary["segments"]
    stabilities = [row["stability"] for row in segments if row["facet"] == "behaviour" and row["stability"] is not None]
    assert parent.data.metrics["behaviour/stability_min"] == min(stabilities)
    assert parent.data.metrics["behaviour/stability_mean"] == significant(np.mean(stabilities), 3)
    reason = next(note for note in result.notes if "of 4 candidates qualify" in note)
    # Of three cutoffs, the last is used only in the report.
    assert "2025-08-03 and" in reason and "2025-09-02" in reason and "2025-10-02" not in reason
    assert "fitted on 600 of" in reason and "2 resamples" in reason
    assert "4 settings were tried. Kindred took the simplest one that was stable" in result.report_path.read_text()
    assert reason in result.as_text()
    assert result.candidates == ""
    names = {artifact.path for artifact in store.client.list_artifacts(result.run_id, "figures/behaviour")}
    assert "figures/behaviour/choice.png" in names
    drawn = Path(store.client.download_artifacts(result.run_id, "figures/behaviour/choice.png"))
    assert drawn.read_bytes().startswith(b"\x89PNG")
    table = json.loads(Path(store.client.download_artifacts(result.run_id, "behaviour/candidates.json")).read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    known = {field.name for field in fields(Candidate)}
    shown = [Candidate(**{name: row[name] for name in known & row.keys()}, buyer_count=0) for row in rows]
    # The scores are those of the rounded figures in the table.
    of_shown = significant_figures(scores(shown, deciding_metrics(behaviour_of(config))))
    assert len(rows) == 4 and [row["score"] for row in rows] == of_shown
    logged = {run.data.tags["command"]: run.data.metrics["behaviour/selection_score"] for run in children}
    assert [logged[row["command"]] for row in rows] == of_shown


def test_a_sweep_prints_a_line_per_candidate(params: Callable[..., Params]) -> None:
    few = ("facets.behaviour.try_block_weights=[]", "facets.interest.try_n_segments=[4]", "quality.validity=false")
    config = params(*SMALL, *few, "facets.behaviour.n_segments=3")
    output = train(config, sweep=True, progress=SILENT).as_text()
    tables = re.findall(r"Train (\w+) in full\n((?: .*kindred train --params .*\n)+)", output)
    commands = {
        facet: [trained_by(command) for command in re.findall(r"kindred train --params .*", lines)]
        for facet, lines in tables
    }
    assert {facet: len(trained) for facet, trained in commands.items()} == {"behaviour": 2, "interest": 2}
    assert {behaviour_of(one).settings.n_segments for one in commands["behaviour"]} == {3, 5}
    assert all(
        (behaviour_of(one).settings.algorithm, one.source) == ("kmeans", config.source) for one in commands["behaviour"]
    )
    assert {interest_of(one).settings.algorithm for one in commands["interest"]} == {"kmeans", "rule"}
    assert "best silhouette" in output


def profiles_of(params: Params) -> Profiles:
    with connect(params.engine, folder=params.path(params.outputs.folder)) as con:
        return replace(
            build_profiles(DuckDB(con), read_source(con, params, rejected_path=None), params), event_evidence=None
        )


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory, shop: Path) -> Profiles:
    return profiles_of(params_in(tmp_path_factory.mktemp("profiles"), shop, *SMALL))


def test_no_chosen_segment_is_too_small(params: Callable[..., Params], profiles: Profiles, monkeypatch: Any) -> None:
    """On 137 customers, six of whom are outliers."""
    config = params(*SMALL, "facets.behaviour.try_n_segments=[3, 8, 12]")
    table = profiles.table[profiles.table.event_count >= 3].head(137).reset_index(drop=True)
    table.loc[:5, ["spend", "order_count"]] = 1e9
    few = replace(profiles, table=table)
    smallest = np.unique(
        cluster(few, config, behaviour_of(config).with_settings(n_segments=8)).labels, return_counts=True
    )[1].min()
    assert smallest < config.naming.min_group  # without the lower limit, a segment would be too small
    monkeypatch.setattr("pipeline.segmentation.choose.log_candidates", lambda *_: None)
    for min_customers, expected in ((None, config.naming.min_group), (60, 60), (138, 137)):
        quality = config.quality.model_copy(update={"min_segment_customers": min_customers})
        limited = config.model_copy(update={"quality": quality})
        choice = chosen(few, [], limited)
        assert np.unique(choice.fitted.labels, return_counts=True)[1].min() >= expected
    assert choice.fitted.n_segments == 1 and choice.facet.settings.n_segments == 1
    assert "None of 6 candidates had 138 customers in every segment" in choice.fitted.choice_reason
    single = with_facets(limited, [behaviour_of(limited).with_settings(try_n_segments=[1])])
    assert chosen(few, [], single).fitted.n_segments == 1


def test_the_champions_segments_are_continued_if_large_enough(
    params: Callable[..., Params], profiles: Profiles, monkeypatch: Any
) -> None:
    """Also below the search space, as in a small shop. If they are too small, new segments may be large enough."""
    table = profiles.table[profiles.table.event_count >= 3].head(137).reset_index(drop=True)
    few = replace(profiles, table=table)
    monkeypatch.setattr("pipeline.segmentation.choose.log_candidates", lambda *_: None)
    smallest = {
        count: np.bincount(cluster(few, params(), behaviour_of(params()), n_segments=count).labels).min()
        for count in (2, 3)
    }
    assert smallest[2] > smallest[3]
    fallbacks: list[int] = []

    def counting(profiles: Profiles, params: Params, facet: Facet, **changes: Any) -> FittedClusters:
        fallbacks.extend(count for count in [int(facet.settings.n_segments)] if count < 3)
        return cluster(profiles, params, facet, **changes)

    monkeypatch.setattr("pipeline.segmentation.choose.cluster", counting)
    for count in (2, 3):
        config = params(
            *SMALL, "facets.behaviour.try_n_segments=[3]", f"quality.min_segment_customers={smallest[count]}"
        )
        fresh = chosen(few, [], config)
        assert fresh.fitted.n_segments == count
        assert fallbacks == [2] * (count == 2)  # clustered once
        starts = {"The champion's segments": fresh.fitted.labels}
        again = chosen(few, [], config, starts)
        fallbacks.clear()
        assert any("champion's segments were refitted on today's customers" in note for note in again.fitted.notes)

    def with_tiny_champion_segments(*args: Any, **changes: Any) -> FittedClusters:
        labels = np.minimum(np.arange(137), 2)
        return replace(
            cluster(*args, **changes),
            **({"labels": labels} if "The champion's segments" in changes.get("starts", {}) else {}),
        )

    monkeypatch.setattr("pipeline.segmentation.choose.cluster", with_tiny_champion_segments)
    again = chosen(few, [], config, starts)
    assert np.array_equal(again.fitted.labels, fresh.fitted.labels)


def test_a_cutoff_with_too_few_active_customers_is_not_used(
    params: Callable[..., Params], profiles: Profiles, monkeypatch: Any
) -> None:
    """Today enough customers can be clustered, but at the cutoff of a young shop there were hardly any."""
    config = params(*SMALL)
    monkeypatch.setattr("pipeline.segmentation.choose.log_candidates", lambda *_: None)
    count = len(profiles.table)
    bought = np.arange(count) % 2 == 0
    outcomes = Outcomes(bought, bought * 9.0, np.empty((count, 0), dtype=bool))
    for clustered in (0, 3):
        table = profiles.table.assign(event_count=[*[9] * clustered, *[1] * (count - clustered)])
        nothing = np.empty((count, 0))
        early = CutoffData(config.as_of, replace(profiles, table=table), outcomes, nothing, nothing, bought)
        choice = chosen(profiles, [early], config)
        assert "Their predictions were measured" not in choice.fitted.choice_reason
        assert all(trial.candidate.buys_auc is None for trial in choice.trials)


def test_parallel_runs_give_the_same_candidates(
    params: Callable[..., Params], profiles: Profiles, monkeypatch: Any
) -> None:
    config = params(*SMALL)
    monkeypatch.setattr("pipeline.segmentation.choose.log_candidates", lambda *_: None)
    parallel = config.model_copy(update={"sweep": config.sweep.model_copy(update={"n_jobs": 2})})
    candidates = [[trial.candidate for trial in chosen(profiles, [], each).trials] for each in (config, parallel)]
    assert candidates[0] == candidates[1]


def test_a_single_hdbscan_candidate_needs_no_process_and_keeps_its_place(
    params: Callable[..., Params], profiles: Profiles, monkeypatch: Any
) -> None:
    config = params(*SMALL, "sweep.n_jobs=2")
    settings = [Setting("hdbscan", None, 0.02, 0, {}), *(Setting("kmeans", count, None, 0, {}) for count in (5, 3))]
    monkeypatch.setattr(trials, "_run_trial", lambda setting, *_: Trial(setting, os.getpid(), {}, {}))
    sample = trials.Sample(profiles, 1)
    done = trials.run_settings(settings, sample, [], config, behaviour_of(config), SILENT)
    assert [trial.setting for trial in done] == settings
    assert {trial.candidate for trial in done} == {os.getpid()}


def test_the_names_of_a_candidate_are_those_of_its_description(
    params: Callable[..., Params], profiles: Profiles
) -> None:
    config = params()
    for facet in facets_of(config):
        fitted = cluster(profiles, config, facet.with_settings(algorithm="kmeans", n_segments=4))
        segments = describe_segments(profiles, fitted, config, facet, seasonal_lift=None)
        described = {segment.segment_id: segment.names for segment in segments.rows if not segment.is_rule_based}
        named = name_clusters(profiles, fitted, config, facet)
        assert {segment_id: naming.names for segment_id, naming in named.items()} == described
        assert len(described) == 4


def test_auto_is_only_for_training(params: Callable[..., Params], profiles: Profiles) -> None:
    config = params("facets.behaviour.n_segments=auto")
    with pytest.raises(UserError, match=r"facets\.behaviour: expected .* a number of segments; auto is for"):
        cluster(profiles, config, behaviour_of(config))
